package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/internal/embeddedpg"
	"github.com/onceql/onceql/internal/operator"
)

// keyCommand is what operators ask of keys, and do to them.
type keyCommand struct {
	Show   keyShow   `cmd:"" help:"Show what a key did."`
	List   keyList   `cmd:"" help:"List calls, newest first."`
	Verify keyVerify `cmd:"" help:"Say what the server would make of a request: replay it, execute it, or refuse it."`
	Forget keyForget `cmd:"" help:"Forget what a key did, or all keys of a tenant: they execute again."`
	Purge  keyPurge  `cmd:"" help:"Remove the keys whose retention is over, as servers do by themselves."`
	Audit  keyAudit  `cmd:"" help:"List what operators forgot and removed, when and why, newest first."`
}

// operatorFlags say as whom an operator looks, and what is printed.
type operatorFlags struct {
	databaseFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// session opens the database for operators: the one in OPERATOR_DATABASE_URL, else that in
// DATABASE_URL, else the embedded PostgreSQL, which a server runs or else this command.
func (f operatorFlags) session(ctx context.Context, use func(*operator.Session) error) error {
	address := cmp.Or(f.OperatorDatabaseURL, f.DatabaseURL)
	if address == "" {
		running, err := embeddedpg.Running(f.DataDir)
		switch {
		case err == nil:
			if address, err = embeddedpg.StandingRole(ctx, running, operatorRole); err != nil {
				return err
			}
		case errors.Is(err, embeddedpg.ErrNotRunning):
			return f.use(ctx, func(d *database) error {
				if err := d.migrate(ctx, slog.New(slog.DiscardHandler)); err != nil {
					return err
				}
				return inSession(ctx, d.operatorURL, use)
			})
		default:
			return fmt.Errorf("%w: set OPERATOR_DATABASE_URL, or DATA_DIR to that of the server", err)
		}
	}
	return inSession(ctx, address, use)
}

func inSession(ctx context.Context, address string, use func(*operator.Session) error) error {
	session, err := operator.Open(ctx, address)
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	return use(session)
}

func (f operatorFlags) output() operator.Output {
	return operator.Output{Out: &stdout, Err: os.Stderr, JSON: f.JSON, Progress: isTerminal(os.Stderr)}
}

// stdout is standard output. An answer that was cut off, by a disk that is full, is no answer.
var stdout written

// written keeps the first error of writing to standard output.
type written struct{ err error }

// Write implements io.Writer.
func (w *written) Write(text []byte) (int, error) {
	n, err := os.Stdout.Write(text)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// isTerminal says whether somebody may sit at the file. /dev/null is taken for a terminal
// too: what is written there is lost, and what is read is the end, which is no answer.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type keyShow struct {
	operatorFlags
	Key     string  `arg:"" help:"The key. One that begins with a hyphen stands behind --."`
	Tenant  *string `placeholder:"TENANT" help:"Whose key. None: those of all tenants. An empty one is that of a server without AUTH_ISSUER."`
	Payload bool    `help:"Print what is replayed too."`
}

// Run shows the key.
func (c *keyShow) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error {
		return s.Show(ctx, operator.ShowRequest{Key: c.Key, Tenant: c.Tenant, Payload: c.Payload}, c.output())
	})
}

type keyList struct {
	operatorFlags
	Tenant    *string       `placeholder:"TENANT" help:"Whose calls. None: those of all tenants."`
	Operation *string       `help:"Calls of this mutation alone."`
	Request   *string       `placeholder:"ID" help:"Calls that this request executed."`
	Trace     *string       `placeholder:"ID" help:"Calls that this trace executed."`
	Since     time.Duration `placeholder:"DURATION" help:"Calls that were executed so long ago at most, such as 90m."`
	From      time.Time     `placeholder:"TIME" help:"Calls that were executed then or later, such as 2026-01-31T18:00:00Z."`
	To        time.Time     `placeholder:"TIME" help:"Calls that were executed before."`
	Limit     int           `default:"50" help:"How many calls (${default})."`
}

// Validate is called by kong once the flags are read.
func (c *keyList) Validate() error {
	if c.Since != 0 && !c.From.IsZero() {
		return errors.New("--since and --from say the same: give one of them")
	}
	if c.Since < 0 {
		return errors.New("--since is negative")
	}
	return c.databaseFlags.Validate()
}

// Run lists the calls.
func (c *keyList) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error {
		return s.List(ctx, operator.ListRequest{
			Tenant: c.Tenant, Operation: c.Operation, RequestID: c.Request, TraceID: c.Trace, Since: c.Since, From: c.From, Until: c.To, Limit: c.Limit,
		}, c.output())
	})
}

type keyVerify struct {
	operatorFlags
	File         string  `arg:"" default:"-" help:"The request's body, as JSON; - is standard input (${default})."`
	Tenant       *string `required:"" placeholder:"TENANT" help:"Who would send it. An empty one is that of a server without AUTH_ISSUER."`
	MaxBodyBytes int64   `env:"MAX_BODY_BYTES" default:"${max_body}" help:"Size of the largest request body (${default})."`
	limitFlags
}

// Run verifies the request.
func (c *keyVerify) Run(ctx context.Context) error {
	body, err := c.read()
	if err != nil {
		return err
	}
	config := graph.Config{
		MaxBody: c.MaxBodyBytes, MaxValues: c.LimitValues, MaxAnswer: c.LimitAnswerBytes, Limits: c.limits(),
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	return c.session(ctx, func(s *operator.Session) error { return s.Verify(ctx, config, *c.Tenant, body, c.output()) })
}

// read returns the body, or somewhat more than the server would read of it.
func (c *keyVerify) read() ([]byte, error) {
	if c.File == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, c.MaxBodyBytes+1))
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(file, c.MaxBodyBytes+1))
	return body, errors.Join(err, file.Close())
}

type keyForget struct {
	operatorFlags
	Key    *string `arg:"" optional:"" help:"The key. None, with --all: all keys of the tenant."`
	Tenant *string `required:"" placeholder:"TENANT" help:"Whose key. An empty one is that of a server without AUTH_ISSUER."`
	Reason string  `required:"" placeholder:"TEXT" help:"Why; it is recorded with who did it."`
	All    bool    `help:"All keys of the tenant. Needed with --yes where no key is given: a script whose key is missing must not forget a tenant."`
	Yes    bool    `short:"y" help:"Do not ask."`
}

// Validate is called by kong once the flags are read.
func (c *keyForget) Validate() error {
	switch {
	case c.Key != nil && c.All:
		return errors.New("a key is given, and --all")
	case c.Key == nil && c.Yes && !c.All:
		return errors.New("no key is given: --yes without one needs --all")
	}
	return c.databaseFlags.Validate()
}

// Run forgets the key, or the keys of the tenant.
func (c *keyForget) Run(ctx context.Context) error {
	request := operator.ForgetRequest{Key: c.Key, Tenant: *c.Tenant, Reason: c.Reason}
	if !c.Yes {
		if !isTerminal(os.Stdin) {
			return errNobody
		}
		request.Confirm = confirm
	}
	return c.session(ctx, func(s *operator.Session) error { return s.Forget(ctx, request, c.output()) })
}

var errNobody = errors.New("nobody can be asked: give --yes")

// confirm asks on the terminal.
func confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil {
			close(answer)
			return
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line, answered := <-answer:
		if !answered {
			fmt.Fprintln(os.Stderr)
			return false, errNobody
		}
		return line == "y" || line == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr)
		return false, operator.ErrDeclined
	}
}

type keyPurge struct {
	operatorFlags
	DryRun bool `name:"dry-run" help:"Only count them."`
}

// Run purges.
func (c *keyPurge) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error { return s.Purge(ctx, c.DryRun, c.output()) })
}

type keyAudit struct {
	operatorFlags
	Key    string  `arg:"" optional:"" help:"The key that was forgotten, alone or with its tenant."`
	Tenant *string `placeholder:"TENANT" help:"Whose keys. None: those of all tenants."`
	Limit  int     `default:"50" help:"How many actions (${default})."`
}

// Run lists the actions.
func (c *keyAudit) Run(ctx context.Context) error {
	return c.session(ctx, func(s *operator.Session) error {
		return s.Audit(ctx, operator.Which{Tenant: c.Tenant, Key: c.Key, Limit: c.Limit}, c.output())
	})
}
