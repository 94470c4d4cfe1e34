package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/onceql/onceql/chaos/sandbox"
)

// BouncerPort is where pgbouncer listens.
const BouncerPort = 6432

// A Bouncer is a pgbouncer in transaction mode. Its methods may be called at the same
// time.
type Bouncer struct {
	config, log string
	as          *syscall.Credential

	mu      sync.Mutex
	process *sandbox.Process
}

func newBouncer(work string, as *syscall.Credential, port int) (*Bouncer, error) {
	b := &Bouncer{config: filepath.Join(work, "pgbouncer.ini"), log: filepath.Join(work, "pgbouncer.log"), as: as}
	users := filepath.Join(work, "pgbouncer.users")
	if err := os.WriteFile(users, fmt.Appendf(nil, "%q \"\"\n", Role), 0o644); err != nil { //nolint:gosec // No secret.
		return nil, err
	}
	if err := b.configure(port); err != nil {
		return nil, err
	}
	return b, b.start()
}

func (b *Bouncer) configure(port int) error {
	text := fmt.Sprintf(`[databases]
%s = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 40
max_client_conn = 200
server_connect_timeout = 2
server_login_retry = 0.2
`, Database, port, BouncerPort, filepath.Join(filepath.Dir(b.config), "pgbouncer.users"))
	return os.WriteFile(b.config, []byte(text), 0o644) //nolint:gosec // No secret.
}

func (b *Bouncer) start() error {
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // It holds test data.
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	b.process, err = sandbox.Start(log, nil, b.as, "/usr/sbin/pgbouncer", "-q", b.config)
	return err
}

// Crash ends it as kill -9 does and starts it again after so long.
func (b *Bouncer) Crash(away time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.process.Kill()
	time.Sleep(away)
	return b.start()
}

// Lead makes it connect to the primary at another port.
func (b *Bouncer) Lead(port int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.configure(port); err != nil {
		return err
	}
	b.process.Signal(syscall.SIGHUP)
	return nil
}
