package api

import (
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
)

// forwarded opens a stream to port 8080, as kubectl does.
func forwarded(d httpstream.Dialer) (io.ReadWriteCloser, func(), error) {
	conn, _, err := d.Dial("portforward.k8s.io")
	if err != nil {
		return nil, nil, err
	}
	end := func() { conn.Close() } //nolint:errcheck // the test is over
	h := http.Header{}
	h.Set(corev1.StreamType, corev1.StreamTypeError)
	h.Set(corev1.PortHeader, "8080")
	h.Set(corev1.PortForwardRequestIDHeader, "1")
	errs, err := conn.CreateStream(h)
	if err != nil {
		return nil, end, err
	}
	errs.Close() //nolint:errcheck // nothing is written there
	h.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(h)
	return data, end, err
}
