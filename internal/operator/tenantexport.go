package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/onceql/onceql/internal/tenants"
)

// An ExportRequest is what `tenant export` asks for.
type ExportRequest struct {
	Tenant string
	// File is where the export goes, a new file; "" is Output.Out.
	File string
}

// ExportTenant writes all that is stored for a tenant, see tenants.Export.
func (s *Session) ExportTenant(ctx context.Context, request ExportRequest, to Output) error {
	if err := s.seeTenants(ctx, false); err != nil {
		return err
	}
	var exported tenants.Exported
	write := func(out io.Writer) (err error) {
		exported, err = tenants.Export(ctx, s.pool, request.Tenant, out)
		if err == nil && exported == (tenants.Exported{}) {
			if err = s.absent(); err == nil {
				err = Absent
			}
		}
		return err
	}
	var err error
	if request.File == "" {
		err = write(to.Out)
	} else {
		err = newFile(request.File, write)
	}
	switch {
	case errors.Is(err, Absent):
		fmt.Fprintln(to.Err, "Nothing is stored for this tenant.")
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(to.Err, "Stopped: the export is not whole.")
		return Interrupted
	case err == nil:
		fmt.Fprintf(to.Err, "Exported %d projects and %d keys.\n", exported.Projects, exported.Keys)
	}
	return err
}

// newFile has write write a file that was not there before, and that its owner alone may
// read. One that was not written as a whole is removed.
func newFile(name string, write func(io.Writer) error) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	return errors.Join(write(file), file.Sync(), file.Close())
}
