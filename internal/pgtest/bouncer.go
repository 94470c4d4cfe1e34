package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Bouncer is a pgbouncer in transaction mode in front of a server, which a test may
// kill and start again.
type Bouncer struct {
	dir  string
	port int
	// kept is the pipe whose end tells the shell around pgbouncer that the tests ended.
	command *exec.Cmd
	kept    interface{ Close() error }
}

// NewBouncer starts a pgbouncer in front of the database's server, and stops it after the
// test. It knows the address's role and that of AsRole. The settings are lines of its
// section [pgbouncer], such as "default_pool_size = 4".
func NewBouncer(t testing.TB, address string, settings ...string) *Bouncer {
	t.Helper()
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := publicDir()
	if err != nil {
		t.Fatal(err)
	}
	b := &Bouncer{dir: dir, port: freePort(t)}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
pidfile = %[4]s/pid
logfile = %[4]s/log
auth_type = trust
auth_file = %[4]s/users
admin_users = bouncer_admin
pool_mode = transaction
server_login_retry = 0.1
%[5]s
`, server.Hostname(), server.Port(), b.port, dir, strings.Join(settings, "\n"))
	users := "\"bouncer_admin\" \"\"\n"
	for _, login := range []string{address, AsRole(t, address)} {
		parsed, err := url.Parse(login)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := parsed.User.Password()
		users += fmt.Sprintf("%q %q\n", parsed.User.Username(), password)
	}
	for name, text := range map[string]string{"ini": config, "users": users} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // Passwords of a test's database.
			t.Fatal(err)
		}
	}
	b.Start(t)
	t.Cleanup(b.end)
	return b
}

// Start starts it again after Kill, on the same port.
func (b *Bouncer) Start(t testing.TB) {
	t.Helper()
	const program = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(program); err != nil {
		t.Fatal("this test needs Debian's pgbouncer: ", err)
	}
	// The shell ends pgbouncer when the tests end, however they do.
	script := `"$0" -q "$1/ini" & read -r _; kill -9 $!; wait`
	b.command = exec.Command("/bin/sh", "-c", script, program, b.dir) //nolint:noctx // Kill ends it.
	b.command.Dir, b.command.Stdout, b.command.Stderr = "/", t.Output(), t.Output()
	if os.Geteuid() == 0 {
		// It refuses root, as PostgreSQL does.
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
		gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
		if err := os.Chown(b.dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		b.command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	kept, err := b.command.StdinPipe()
	if err == nil {
		err = b.command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	b.kept = kept
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := b.console(t.Context())
		if err == nil {
			_ = conn.Close(t.Context())
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("pgbouncer does not answer: %v\n%s", err, b.Log(t))
		}
	}
}

// Kill ends it as kill -9 does.
func (b *Bouncer) Kill(t testing.TB) {
	t.Helper()
	if b.command == nil {
		t.Fatal("pgbouncer does not run")
	}
	b.end()
}

func (b *Bouncer) end() {
	if b.command != nil {
		_ = b.kept.Close()
		_ = b.command.Wait()
		b.command = nil
		_ = os.Remove(filepath.Join(b.dir, "pid"))
	}
}

// URL is where the database of that address is reached through it.
func (b *Bouncer) URL(t testing.TB, address string) string {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Host = b.Host()
	return parsed.String()
}

// Host is its host and port.
func (b *Bouncer) Host() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// Console runs a command of its administration, such as "reconnect".
func (b *Bouncer) Console(t testing.TB, command string) {
	t.Helper()
	conn, err := b.console(t.Context())
	if err == nil {
		_, err = conn.PgConn().Exec(t.Context(), command).ReadAll()
		_ = conn.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (b *Bouncer) console(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("postgres://bouncer_admin@%s/pgbouncer?sslmode=disable", b.Host()))
}

// Log is what it has written to its log.
func (b *Bouncer) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// freePort is one that nobody uses at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It takes no time.
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening on %s", listener.Addr())
	}
	return address.Port
}
