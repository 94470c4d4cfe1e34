package embeddedpg_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/internal/embeddedpg"
)

func TestStart_KeepsDataOverStopAndStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), "with a space", "deep")
	prefix := `it's 100 %% of "$HOME" `
	first := start(t, embeddedpg.Config{
		Dir:        dir,
		Parameters: map[string]string{"max_connections": "17", "log_line_prefix": prefix},
	})
	uid, _ := serverUser(t)
	checkRunsAs(t, first.URL(), dir, uid)
	for setting, want := range map[string]string{"max_connections": "17", "log_line_prefix": prefix} {
		if got := ask(t, first.URL(), "show "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	ask(t, first.URL(), "create table kept as select 'a row' as what")
	pid := postmasterPid(t, dir)
	stop(t, first)
	if running(pid) || exists(filepath.Join(dir, "data", "postmaster.pid")) {
		t.Fatal("Postgres was not shut down")
	}
	if log, _ := os.ReadFile(filepath.Join(dir, "postgres.log")); !strings.Contains(string(log), "received fast shutdown request") {
		t.Errorf("it was shut down otherwise:\n%s", log)
	}
	select {
	case <-first.Done():
	default:
		t.Error("Done is not closed after Stop")
	}

	port := freePort(t)
	second := start(t, embeddedpg.Config{Dir: dir, Port: port})
	checkKept(t, second)
	if got := address(t, second).Port(); got != strconv.Itoa(port) {
		t.Errorf("it listens on port %s, want %d", got, port)
	}
	if got, want := address(t, second).User.String(), address(t, first).User.String(); got != want {
		t.Error("the password is another one now")
	}
	if got := ask(t, second.URL(), "show max_connections"); got == "17" {
		t.Error("a parameter of the first run still holds in the second")
	}
}

func TestStart_SharesNothing(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	embedded := start(t, embeddedpg.Config{Dir: dir})
	to := address(t, embedded)

	t.Run("listens on loopback alone", func(t *testing.T) {
		if to.Hostname() != "127.0.0.1" {
			t.Errorf("the address is %s", to.Hostname())
		}
		others := []string{"127.0.0.2", "::1"}
		interfaces, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range interfaces {
			if ip, _, err := net.ParseCIDR(address.String()); err == nil && ip.String() != "127.0.0.1" {
				others = append(others, ip.String())
			}
		}
		for _, other := range others {
			conn, err := net.Dial("tcp", net.JoinHostPort(other, to.Port()))
			if err == nil {
				conn.Close()
				t.Errorf("it answers on %s", other)
			}
		}
		if got := ask(t, embedded.URL(), "show unix_socket_directories"); got != "" {
			t.Errorf("it has a socket in %s", got)
		}
	})

	t.Run("asks for the password", func(t *testing.T) {
		for name, user := range map[string]*url.Userinfo{
			"none": url.User("postgres"), "wrong": url.UserPassword("postgres", "postgres"),
		} {
			open := *to
			open.User = user
			_, err := execute(t.Context(), open.String(), "select 1")
			var refusal *pgconn.PgError
			if !errors.As(err, &refusal) || refusal.Code != "28P01" {
				t.Errorf("%s: %v, want a refused password", name, err)
			}
		}
		methods := "select string_agg(distinct auth_method, ' ') from pg_hba_file_rules"
		if got := ask(t, embedded.URL(), methods); got != "scram-sha-256" {
			t.Errorf("it authenticates by %s", got)
		}
		if password, _ := to.User.Password(); len(password) < 20 {
			t.Errorf("the password is %d characters long", len(password))
		}
	})

	t.Run("refuses a second server", func(t *testing.T) {
		alias := filepath.Join(publicDir(t), "alias")
		if err := os.Symlink(dir, alias); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{dir, alias} {
			err := refused(t, embeddedpg.Config{Dir: name})
			if !errors.Is(err, embeddedpg.ErrDataDirInUse) {
				t.Errorf("%v, want ErrDataDirInUse", err)
			}
			mentions(t, err, fmt.Sprintf("process %d", os.Getpid()), name, "DATA_DIR")
		}
		checkKept(t, embedded)
	})
}

// Who has the directory, but is ending, is waited for; who stays is named.
func TestStart_WaitsForWhoIsEnding(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	lock, err := os.OpenFile(filepath.Join(dir, "onceql.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for holder, want := range map[string]error{
		strconv.Itoa(os.Getpid()):      embeddedpg.ErrDataDirInUse,
		"stopping":                     context.DeadlineExceeded,
		strconv.Itoa(dead.Process.Pid): context.DeadlineExceeded,
		"":                             context.DeadlineExceeded,
	} {
		if _, err := lock.WriteAt(fmt.Appendf(nil, "%-15s\n", holder), 0); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if errors.Is(want, embeddedpg.ErrDataDirInUse) {
			ctx = patient(t)
		}
		if _, err := embeddedpg.Start(ctx, embeddedpg.Config{Dir: dir}); !errors.Is(err, want) {
			t.Errorf("%q holds the directory: %v, want %v", holder, err, want)
		}
		cancel()
	}
	lock.Close()
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
}

func TestStart_PortInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dir, port := usedDir(t), listener.Addr().(*net.TCPAddr).Port
	mentions(t, refused(t, embeddedpg.Config{Dir: dir, Port: port}), "address already in use", strconv.Itoa(port))
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
}

func TestStart_SaysWhyPostgresEnded(t *testing.T) {
	t.Parallel()
	dir := usedDir(t)
	mentions(t, refused(t, embeddedpg.Config{Dir: dir, Parameters: map[string]string{"no_such": "x"}}), "no_such")
	checkKept(t, start(t, embeddedpg.Config{Dir: dir}))
}

func TestStart_CallerGivesUp(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for _, begun := range []string{"", "tmp/data", "data/postmaster.pid"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			for begun != "" && !exists(filepath.Join(dir, begun)) && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}()
		embedded, err := embeddedpg.Start(ctx, embeddedpg.Config{Dir: dir})
		if err == nil {
			t.Logf("it started before %q was seen", begun)
			stop(t, embedded)
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v, want the context's error", begun, err)
		}
	}
	// Nothing of those that were given up is left.
	ask(t, start(t, embeddedpg.Config{Dir: dir}).URL(), "select 1")
}

func TestStart_NeedsSupervise(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	command := exec.Command(executable(t))
	command.Env = append(os.Environ(), forgetfulMarker+"="+dir)
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	mentions(t, errors.New(string(output)), "Supervise")
	if exists(dir) {
		t.Error("it made the data directory")
	}
}

// mentions checks that the error says all of this, in one line.
func mentions(t testing.TB, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not mention %q", err, part)
		}
	}
}

func address(t testing.TB, embedded *embeddedpg.Server) *url.URL {
	t.Helper()
	parsed, err := url.Parse(embedded.URL())
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// freePort is one that nobody uses. Others may take it, which is unlikely within
// a test.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
