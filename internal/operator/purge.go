package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// A Purged is what `key purge --json` prints.
type Purged struct {
	DryRun bool `json:"dryRun"`
	// Due is how many keys were past their retention before, and Removed how many are gone.
	Due     int64 `json:"due"`
	Removed int64 `json:"removed"`
}

// Purge removes the keys whose retention is over, as servers do by themselves, or with dry
// only counts them. That needs no more than the server's role.
func (s *Session) Purge(ctx context.Context, dry bool, to Output) error {
	switch {
	case !s.rights.reads || !s.rights.removes:
		return fmt.Errorf("%w: %s may not remove keys", ErrRole, Text(s.rights.role))
	case s.rights.standby && !dry:
		return ErrStandby
	}
	due, err := s.Keys.Purgeable(ctx)
	if err != nil {
		return err
	}
	done := Purged{DryRun: dry, Due: due}
	if !dry {
		bar := to.progress("keys purged", due)
		done.Removed, err = s.Keys.Purge(ctx, bar.show)
		bar.end()
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = Interrupted
	case err != nil:
		fmt.Fprintf(to.Err, "%d keys are purged.\n", done.Removed)
		return err
	}
	if to.JSON {
		return errors.Join(printJSON(to.Out, done), err)
	}
	switch {
	case dry:
		fmt.Fprintf(to.Out, "%d keys are past their retention.\n", due)
	case done.Removed < due && err == nil:
		fmt.Fprintf(to.Out, "Purged %d of %d keys; a server purges the others now.\n", done.Removed, due)
	default:
		fmt.Fprintf(to.Out, "Purged %d of %d keys.\n", done.Removed, due)
	}
	return err
}

// A progress is a line that is written over and over, for who watches it.
type progress struct {
	out   io.Writer // Nil for nobody.
	what  string
	of    int64
	shown time.Time
}

const progressEvery = 100 * time.Millisecond

func (o Output) progress(what string, of int64) *progress {
	if !o.Progress {
		return &progress{}
	}
	return &progress{out: o.Err, what: what, of: of}
}

func (p *progress) show(total int64) {
	if p.out != nil && time.Since(p.shown) >= progressEvery {
		p.shown = time.Now()
		fmt.Fprintf(p.out, "\r%d of %d %s", total, max(p.of, total), p.what)
	}
}

// end begins a new line, where there is one.
func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprintln(p.out)
	}
}
