package operator

import "io"

// A Status is how a command ended that is no error: the program's exit code.
type Status int

// What the exit codes of the commands on keys mean; 1 is an error, as everywhere.
const (
	// Absent means: nothing is there. Of verify: a call would execute.
	Absent Status = 2
	// Refused means: a call would be refused, or the key can't be forgotten while a call
	// with it executes.
	Refused Status = 3
	// Interrupted means: stopped by a signal between two transactions.
	Interrupted Status = 130
)

func (s Status) Error() string {
	switch s {
	case Absent:
		return "nothing is there"
	case Refused:
		return "it is refused"
	case Interrupted:
		return "it was interrupted"
	}
	return "it ended"
}

// An Output is where a command writes: what it found to Out, and what it says to people to
// Err.
type Output struct {
	Out, Err io.Writer
	// JSON asks for JSON on Out, whose members are documented and stay.
	JSON bool
	// Progress says that somebody watches Err.
	Progress bool
}
