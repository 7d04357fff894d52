package image

// PullOptions says how an image is fetched. The zero value is right.
type PullOptions struct{}
