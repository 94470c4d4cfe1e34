// Package fleet runs OnceQL's servers, each by a process manager that starts it again
// when it ends.
package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onceql/onceql/chaos/proxy"
	"github.com/onceql/onceql/chaos/sandbox"
)

// restartPause is how long a process manager waits before it starts a server again.
const restartPause = 200 * time.Millisecond

// drainPatience is how long a server may drain, by its DRAIN_TIMEOUT and a little more.
const drainPatience = 10 * time.Second

// A Server is one of OnceQL's. Its methods may be called at the same time.
type Server struct {
	Name string
	Port int
	// Proxy is on its way to PostgreSQL; nil when there is none.
	Proxy *proxy.Proxy
	// Env is its configuration, and EnvOf what it has besides while it runs a program.
	Env   []string
	EnvOf map[string][]string

	log *os.File
	// unknown counts the commits whose outcome it did not hear of.
	unknown atomic.Int64

	mu      sync.Mutex
	program string
	// kept, while it is not nil and open, keeps the manager from starting it again.
	kept chan struct{}
	// rolling says that the process may be of another program still.
	rolling bool
	process *sandbox.Process
	over    chan struct{}
	managed sync.WaitGroup
}

// Start has the server run from now on, until End. Its log is in the directory.
func (s *Server) Start(program, logs string) error {
	log, err := os.OpenFile(filepath.Join(logs, s.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) //nolint:gosec // It holds test data.
	if err != nil {
		return err
	}
	s.log, s.program, s.over = log, program, make(chan struct{})
	s.managed.Go(s.manage)
	return nil
}

// manage is the process manager.
func (s *Server) manage() {
	for {
		process, err := s.launch()
		if err == nil {
			<-process.Done()
		}
		select {
		case <-s.over:
			return
		case <-time.After(restartPause):
		}
		s.mu.Lock()
		kept := s.kept
		s.mu.Unlock()
		if kept == nil {
			continue
		}
		select {
		case <-s.over:
			return
		case <-kept:
		}
	}
}

func (s *Server) launch() (*sandbox.Process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	env := append([]string{
		fmt.Sprintf("LISTEN_ADDR=127.0.0.1:%d", s.Port), "LOG_LEVEL=warn", "DRAIN_TIMEOUT=5s",
	}, s.Env...)
	env = append(env, s.EnvOf[s.program]...)
	process, err := sandbox.Start(writer, env, nil, s.program)
	_ = writer.Close() // The server has its own.
	if err != nil {
		_ = reader.Close()
		return nil, err
	}
	s.process = process
	go s.listen(reader)
	return process, nil
}

// listen keeps what the server logs.
func (s *Server) listen(reader io.ReadCloser) {
	defer func() { _ = reader.Close() }()
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadBytes('\n')
		if bytes.Contains(line, []byte(`msg="commit unknown"`)) {
			s.unknown.Add(1)
		}
		_, _ = s.log.Write(line)
		if err != nil {
			return
		}
	}
}

// UnknownCommits is how many commits it did not hear of, since it was made.
func (s *Server) UnknownCommits() int { return int(s.unknown.Load()) }

// now is the running process.
func (s *Server) now() *sandbox.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Kill ends it as kill -9 does; its manager starts it again.
func (s *Server) Kill() {
	if process := s.now(); process != nil {
		process.Kill()
	}
}

// Freeze stops it for so long.
func (s *Server) Freeze(d time.Duration) {
	process := s.now()
	if process == nil {
		return
	}
	process.Freeze()
	time.Sleep(d)
	process.Thaw()
}

// Retire has it drain, and starts it again only so long after it ended.
func (s *Server) Retire(away time.Duration) {
	kept := make(chan struct{})
	s.mu.Lock()
	s.kept = kept
	process := s.process
	s.mu.Unlock()
	if process != nil {
		process.Stop(syscall.SIGTERM, drainPatience)
	}
	time.Sleep(away)
	s.mu.Lock()
	s.kept = nil
	s.mu.Unlock()
	close(kept)
}

// Hurry asks it to end twice, the second time after so long: it ends at once then. Its
// manager starts it again.
func (s *Server) Hurry(after time.Duration) {
	process := s.now()
	if process == nil {
		return
	}
	process.Signal(syscall.SIGTERM)
	select {
	case <-process.Done():
	case <-time.After(after):
		process.Stop(syscall.SIGTERM, drainPatience)
	}
}

// Deploy has it drain and start again as another program.
func (s *Server) Deploy(program string) {
	s.mu.Lock()
	s.program, s.rolling = program, true
	process := s.process
	s.mu.Unlock()
	if process != nil {
		process.Stop(syscall.SIGTERM, drainPatience)
	}
	s.mu.Lock()
	s.rolling = false
	s.mu.Unlock()
}

// AtStep does something while a message of an execution of this server is held at the
// step, or at any moment once it has waited so long in vain. It says which of the two.
func (s *Server) AtStep(step proxy.Step, patience time.Duration, something func()) (met bool) {
	var once sync.Once
	armed := s.Proxy.Next(step, proxy.Whole(func() { once.Do(something) }))
	select {
	case <-armed.Met:
	case <-time.After(patience):
		if armed.Forget() {
			once.Do(something)
			return false
		}
		<-armed.Met
	}
	return true
}

// Runs says whether the program is the one that serves now, and no other one still does.
func (s *Server) Runs(program string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.program == program && !s.rolling
}

// Await waits until it says that it can serve, and reports whether it did in time.
func (s *Server) Await(patience time.Duration) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(s.URL() + "/readyz")
		if err != nil {
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return true
		}
	}
	return false
}

// URL is where it serves.
func (s *Server) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.Port) }

// End ends it for good.
func (s *Server) End() {
	close(s.over)
	s.Kill()
	s.managed.Wait()
	_ = s.log.Close()
}
