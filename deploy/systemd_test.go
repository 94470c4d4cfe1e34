package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of the docs install into a machine's file system, where systemd-analyze looks
// at the units: whether it knows every word of them, and finds what they run.
func TestSystemd_InstallsWhatSystemdTakes(t *testing.T) {
	t.Parallel()
	machine := systemdMachine(t)
	for path, want := range map[string]os.FileMode{
		"/etc/onceql": 0o700 | os.ModeDir, "/etc/onceql/onceql.env": 0o600, "/etc/onceql/migrate.env": 0o600,
		"/usr/local/bin/onceql": 0o755,
	} {
		if info, err := os.Stat(machine + path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, and its mode is to be %s", path, err, want)
		}
	}
	analyze := exec.Command("systemd-analyze", "verify", "--root="+machine, "onceql.service", "onceql-migrate.service")
	if output, err := analyze.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, output)
	}
	// What verify finds is in its output alone.
	unit := machine + "/etc/systemd/system/onceql.service"
	text := strings.Replace(read(t, unit), "ProtectSystem=strict", "ProtectTheSystem=strict", 1)
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, _ := exec.Command("systemd-analyze", "verify", "--root="+machine, "onceql.service").CombinedOutput(); !strings.Contains(string(output), "ProtectTheSystem") {
		t.Errorf("systemd-analyze does not see a word that is none:\n%s", output)
	}
}

// 10 is a service that may do everything, and what may do hardly anything is below 1.5.
func TestSystemd_ServicesMayDoLittle(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"systemd/onceql.service", "systemd/onceql-migrate.service"} {
		if output, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", unit).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	}
}

// The units' commands, with what they set, on an empty database.
func TestSystemd_ServesFromNothing(t *testing.T) {
	t.Parallel()
	server, migrate := readUnit(t, "onceql"), readUnit(t, "onceql-migrate")
	checkSettings(t, "onceql.service", server.env, server.args...)
	checkSettings(t, "onceql-migrate.service", migrate.env, migrate.args...)
	if stop, drain := duration(t, server.values["TimeoutStopSec"]), duration(t, server.env["DRAIN_DELAY"])+duration(t, server.env["DRAIN_TIMEOUT"]); stop < drain+afterDrain {
		t.Errorf("the server drains for %s, and is killed after %s", drain, stop)
	}
	host := database(t, map[string]string{
		"ONCEQL_PASSWORD": "CHANGE_ME", "ONCEQL_OWNER_PASSWORD": "CHANGE_ME", "ONCEQL_OPERATOR_PASSWORD": "CHANGE_ME",
	})
	image := unpack(t, builtImage(t))
	if code, output := image.ran(t, onDatabase(t, migrate.env, host), migrate.args...); code != 0 || strings.Contains(output, "pending") {
		t.Fatalf("the migration exits with %d and says:\n%s", code, output)
	}
	env := onDatabase(t, server.env, host)
	env["LISTEN_ADDR"], env["METRICS_ADDR"], env["DRAIN_DELAY"] = "127.0.0.1:0", "127.0.0.1:0", "0s"
	image.serve(t, env, server.args...).drain()
}

// systemdMachine is the root of a machine with systemd's own units, and with what the docs'
// commands install.
func systemdMachine(t testing.TB) string {
	t.Helper()
	machine := t.TempDir()
	for _, dir := range []string{"/usr/local/bin", "/etc/systemd/system", "/usr/lib/systemd"} {
		if err := os.MkdirAll(machine+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(machine+"/usr/lib/systemd/system", os.DirFS("/lib/systemd/system")); err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer(" /usr/local/", " "+machine+"/usr/local/", " /etc/", " "+machine+"/etc/").
		Replace(strings.Replace(block(t, "sh", "install -m 755"), "bin/onceql", programPath(t), 1))
	install := exec.Command("/bin/sh", "-e", "-c", script)
	install.Dir = ".."
	if output, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return machine
}

// A unit is what a service's file says.
type unit struct {
	values map[string]string // The last of each name.
	env    map[string]string
	args   []string
}

func readUnit(t testing.TB, name string) unit {
	t.Helper()
	u := unit{values: map[string]string{}, env: map[string]string{}}
	for line := range strings.Lines(read(t, "systemd/"+name+".service")) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok || strings.HasPrefix(key, "#"):
			continue
		case key == "Environment":
			name, value, _ := strings.Cut(value, "=")
			u.env[name] = value
		case key == "EnvironmentFile":
			for line := range strings.Lines(read(t, "systemd/"+filepath.Base(value))) {
				if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
					u.env[name] = value
				}
			}
		}
		u.values[key] = value
	}
	program, args, _ := strings.Cut(u.values["ExecStart"], " ")
	if program != builtConfig(t).Entrypoint[0] {
		t.Fatalf("%s runs %s", name, program)
	}
	u.args = strings.Fields(args)
	return u
}
