package main

// face is a command of its own right that this program is too: when it is called by that name, or by its first argument.
// It has its words and its exit codes for itself. It is nil when there is none of this name.
func face(name string) func(args []string) int {
	switch name {
	case "lsns":
		return listNamespaces
	case "nsenter":
		return enter
	}
	return nil
}
