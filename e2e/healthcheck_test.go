package e2e_test

import (
	"net"
	"strings"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

// Whatever the server listens on, and whichever names it answers to.
func TestHealthcheck_FindsTheServer(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	addresses := []string{"127.0.0.1:0", "0.0.0.0:0", ":0", "localhost:0"}
	if ipv6, err := net.Listen("tcp6", "[::1]:0"); err == nil { // Not every container has it.
		_ = ipv6.Close()
		addresses = append(addresses, "[::]:0", "[::1]:0")
	}
	for _, listen := range addresses {
		s := serve(t, url, "LISTEN_ADDR="+listen, "ALLOW_ANONYMOUS=true", "ALLOWED_HOSTS=api.example.com")
		_, port, err := net.SplitHostPort(s.address())
		if err != nil {
			t.Fatal(err)
		}
		wantHealthcheck(t, 0, "", strings.TrimSuffix(listen, "0")+port, "HTTP_PROXY=http://127.0.0.1:1")
	}
}

func TestHealthcheck_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	postgres := pgtest.NewServer(t)
	s := serve(t, postgres.URL())
	wantHealthcheck(t, 0, "", s.address())
	postgres.Stop(t)
	eventually(t, "/readyz to say that the database is away", func() bool { return s.get("/readyz").status == 503 })
	wantHealthcheck(t, 1, "the database can't be reached", s.address())
	if output, err := command(t, []string{"LISTEN_ADDR=" + s.address()}, "healthcheck", "live").CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("the process runs, and healthcheck live says: %v\n%s", err, output)
	}
	s.kill()
	wantHealthcheck(t, 1, "/readyz was not answered", s.address())
}

func TestHealthcheck_TellsThatAServerDrains(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t), "DRAIN_DELAY=1h")
	s.terminate()
	eventually(t, "the server to drain", func() bool { return s.get("/readyz").status == 503 })
	wantHealthcheck(t, 1, "draining", s.address())
	s.kill()
}

func TestHealthcheck_IsNotHeldUp(t *testing.T) {
	t.Parallel()
	// What connects to it waits in its queue for ever.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	wantHealthcheck(t, 1, "/readyz was not answered", silent.Addr().String())
	wantHealthcheck(t, 1, "port 0", "127.0.0.1:0")
	wantHealthcheck(t, 1, "LISTEN_ADDR", "127.0.0.1")
}

// wantHealthcheck runs the subcommand for the server at the address. It says one line when
// something is wrong, and else nothing.
func wantHealthcheck(t testing.TB, code int, says, address string, env ...string) {
	t.Helper()
	cmd := command(t, append([]string{"LISTEN_ADDR=" + address}, env...), "healthcheck")
	output, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != code || strings.Count(string(output), "\n") != code || !strings.Contains(string(output), says) {
		t.Errorf("healthcheck of %s exits with %d and says this, want %d and %q:\n%s", address, cmd.ProcessState.ExitCode(), code, says, output)
	}
}
