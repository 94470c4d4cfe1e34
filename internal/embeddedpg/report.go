package embeddedpg

import "errors"

// A report is what the supervisor tells its parent: the URL, or why there is none.
type report struct {
	URL   string
	Error string
	// Kind is the text of the sentinel that the error is.
	Kind string
}

var sentinels = []error{ErrDataDirInUse, ErrDataVersion, ErrNoPostgres}

func reportOf(err error) report {
	for _, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			return report{Error: err.Error(), Kind: sentinel.Error()}
		}
	}
	return report{Error: err.Error()}
}

func (r report) err() error {
	for _, sentinel := range sentinels {
		if r.Kind == sentinel.Error() {
			return &reported{r.Error, sentinel}
		}
	}
	return &reported{r.Error, nil}
}

// reported is an error that crossed the pipe: its text, and the sentinel it was.
type reported struct {
	text     string
	sentinel error
}

func (e *reported) Error() string { return e.text }
func (e *reported) Unwrap() error { return e.sentinel }
