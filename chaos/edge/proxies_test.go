package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// HAProxy, with the line for TLS in place of the plain one, speaks TLS, and what speaks it
// is not root any more.
func TestHAProxy_TLSWithoutRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "haproxy", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	const plain, commented, file = "    bind \"${ONCEQL_LISTEN}\"\n", "    # bind \"${ONCEQL_LISTEN}\" ssl", "/etc/ssl/onceql/haproxy.pem"
	for _, part := range []string{plain, commented, file} {
		if !bytes.Contains(text, []byte(part)) {
			t.Fatalf("the configuration does not have %q", part)
		}
	}
	secret := filepath.Join(dir, "haproxy.pem")
	writeCertificate(t, secret)
	conf := filepath.Join(dir, "deployed.cfg")
	text = []byte(strings.NewReplacer(plain, "", commented, `    bind "${ONCEQL_LISTEN}" ssl`, file, secret).Replace(string(text)))
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		if conf, err = withoutRoot(dir, conf); err != nil {
			t.Fatal(err)
		}
	}
	listen := freeAddress(t)
	command := exec.Command("/usr/sbin/haproxy", "-db", "-f", conf)
	command.Env = []string{"ONCEQL_LISTEN=" + listen, "ONCEQL_A=" + freeAddress(t), "ONCEQL_B=" + freeAddress(t)}
	var log bytes.Buffer
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("%s", log.Bytes())
		}
	}()
	var connection *tls.Conn
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		connection, err = tls.Dial("tcp", listen, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer connection.Close()
	if protocol := connection.ConnectionState().NegotiatedProtocol; protocol != "h2" {
		t.Errorf("HAProxy speaks %q", protocol)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(command.Process.Pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(status, []byte("\nUid:\t0\t")) || !bytes.Contains(status, []byte("\nUid:\t")) {
		t.Errorf("HAProxy serves as root:\n%s", status)
	}
}

// writeCertificate writes a certificate for nobody, and its key, into a file.
func writeCertificate(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
