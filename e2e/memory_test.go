package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/onceql/onceql/internal/pgtest"
)

func TestMemory_IsLimited(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	limit := func(env ...string) int {
		t.Helper()
		s := serve(t, url, env...)
		for _, line := range s.stderr.lines() {
			if _, bytes, found := strings.Cut(line, `msg="memory is limited" bytes=`); found {
				n, err := strconv.Atoi(bytes)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("no line of the log tells the limit:\n%s", s.stderr)
		return 0
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var total int
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &total); err != nil {
		t.Fatal(err)
	}
	if got := limit(); got <= 0 || got >= total*1024 {
		t.Errorf("the limit is %d bytes, want less than the machine's %d kB", got, total)
	}
	if got := limit("GOMEMLIMIT=300MiB"); got != 300<<20 {
		t.Errorf("the limit is %d bytes, want that of GOMEMLIMIT", got)
	}
}

// resident is how much of the server is in memory, in MB.
func (s *server) resident() int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	n, err := strconv.Atoi(fields[slices.Index(fields, "VmRSS:")+1])
	if err != nil {
		s.t.Fatal(err)
	}
	return n >> 10
}

// Bodies of many values, each of which would take more memory than it has bytes, leave
// nothing.
func TestMemory_IsNotTakenByWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, pgtest.URL(t), "GOMEMLIMIT=off")
	wantStatus(t, s.send(create("k", "Apollo")), "EXECUTED")
	before := s.resident()
	body := []byte(`{"query":"{ __typename }","variables":{"a":[` + strings.Repeat("{},", 340_000) + `{}]}}`)
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range 10 {
				if a, err := s.tryRaw(t.Context(), body); err != nil || a.failure().Limit != "values" {
					t.Errorf("%d %.300s, %v, want the limit values", a.status, a.raw, err)
				}
			}
		})
	}
	clients.Wait()
	most := 256
	if raceDetector { // It takes several times as much for itself.
		most *= 5
	}
	if grew := s.resident() - before; grew > most {
		t.Errorf("the server grew by %d MB from %d, want at most %d", grew, before, most)
	}
}
