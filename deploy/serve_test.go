package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// afterDrain is how long the program may still take when its drain is over.
const afterDrain = 5 * time.Second

// A server runs in a container and serves.
type server struct {
	*process
	address string
}

var apiAddress = regexp.MustCompile(`API +http://(\S+)/graphql`)

// serve starts the image's server and waits until it says where it is.
func (u unpacked) serve(t testing.TB, env map[string]string, args ...string) server {
	t.Helper()
	s := server{process: u.start(t, env, args...)}
	eventually(t, "the server to say where it is", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("the server ended with %v:\n%s", s.cmd.ProcessState, &s.output)
		default:
		}
		found := apiAddress.FindStringSubmatch(s.output.String())
		if found != nil {
			s.address = found[1]
			if want, _, _ := net.SplitHostPort(env["LISTEN_ADDR"]); !strings.HasPrefix(s.address, want+":") {
				t.Errorf("the server listens on %s, and not on what it was told", s.address)
			}
		}
		return found != nil
	})
	return s
}

// wantContained fails when the process has more rights than the image and the files say.
func (s server) wantContained() {
	s.t.Helper()
	status := read(s.t, fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	for _, want := range []string{
		"\nUid:\t65532\t65532\t65532\t65532\n", "\nGid:\t65532\t65532\t65532\t65532\n",
		"\nCapEff:\t0000000000000000\n", "\nCapBnd:\t0000000000000000\n", "\nNoNewPrivs:\t1\n",
	} {
		if !strings.Contains(status, want) {
			s.t.Errorf("the server's status lacks %q:\n%s", want, status)
		}
	}
	mounts := read(s.t, fmt.Sprintf("/proc/%d/mountinfo", s.cmd.Process.Pid))
	if mayUnshare() && !regexp.MustCompile(` / ro,`).MatchString(mounts) {
		s.t.Errorf("the server's root is not read-only:\n%s", mounts)
	}
}

// wantCreated has the server create a project, and replay that.
func (s server) wantCreated(key string) {
	s.t.Helper()
	for _, want := range []string{"EXECUTED", "REPLAYED"} {
		document, err := json.Marshal(map[string]any{
			"query":     `mutation ($key: String!) { createProject(input: { name: "Apollo" }, idempotencyKey: $key) { project { id } } }`,
			"variables": map[string]string{"key": key},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		response, err := http.Post("http://"+s.address+"/graphql", "application/json", bytes.NewReader(document))
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(answer), `"status":"`+want+`"`) {
			s.t.Fatalf("the answer is not %s, but %v %s\n%s", want, err, answer, &s.output)
		}
	}
}

// status is that of the answer to a GET.
func (s server) status(path string) int {
	s.t.Helper()
	response, err := http.Get("http://" + s.address + path)
	if err != nil {
		s.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// drain asks the server to end, as all of these deployments do, and wants that it ends well.
func (s server) drain() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if code := s.wait(); code != 0 {
		s.t.Errorf("the server exits with %d after SIGTERM:\n%s", code, &s.output)
	}
}

// builtConfig is what the image says of itself.
func builtConfig(t testing.TB) v1.Config {
	t.Helper()
	config, err := builtImage(t).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return config.Config
}

// duration is that of a setting, and zero where it is not set: no default is longer than
// what these files set.
func duration(t testing.TB, text string) time.Duration {
	t.Helper()
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// block returns the block of docs/operations/deployment.md in the language that has the words.
func block(t testing.TB, language, words string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, closed := strings.Cut(block, "\n```")
		if closed && strings.Contains(block, words) {
			return block
		}
	}
	t.Fatalf("docs/operations/deployment.md has no block of %s with %q", language, words)
	return ""
}

// issuer starts one of tokens, with a certificate of an authority that nobody knows. It
// returns its address and the authority's certificate.
func issuer(t testing.TB) (address string, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes() // 4, and the two coordinates.
	if err != nil {
		t.Fatal(err)
	}
	coordinate := base64.RawURLEncoding.EncodeToString
	mux := http.NewServeMux()
	issuer := httptest.NewUnstartedServer(mux)
	issuer.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // Of those who don't know the authority.
	issuer.StartTLS()
	t.Cleanup(issuer.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer.URL, issuer.URL+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":%q,"y":%q}]}`, coordinate(public[1:33]), coordinate(public[33:]))
	})
	return issuer.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate().Raw})
}
