package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	compose "github.com/compose-spec/compose-go/v2/types"
)

// The services of the Compose file, one after the other as it orders them, from the image and
// with what the file says of each: on a PostgreSQL of this machine's, which runs the file's
// script for a new volume.
func TestCompose_ServesFromNothing(t *testing.T) {
	t.Parallel()
	project := composeProject(t, "ALLOW_ANONYMOUS=true")
	postgres, migrate, server := project.Services["postgres"], project.Services["migrate"], project.Services["server"]
	host := database(t, environment(t, postgres))
	image := unpack(t, builtImage(t))

	env := onDatabase(t, environment(t, server), host)
	env["LISTEN_ADDR"] = "127.0.0.1:0"
	if code, output := image.ran(t, env); code != 1 || !strings.Contains(output, "onceql migrate up") {
		t.Errorf("before the migration the server exits with %d and says:\n%s", code, output)
	}
	for range 2 { // As each `docker compose up` does.
		if code, output := image.ran(t, onDatabase(t, environment(t, migrate), host), migrate.Command...); code != 0 || strings.Contains(output, "pending") {
			t.Fatalf("the migration exits with %d and says:\n%s", code, output)
		}
	}
	running := image.serve(t, env)
	running.wantContained()
	running.wantCreated("k")

	// Its health is asked for as Docker does: in the container.
	test := slices.Clone(server.HealthCheck.Test)
	if len(test) < 2 || test[0] != "CMD" || test[1] != image.config.Entrypoint[0] {
		t.Fatalf("the healthcheck is %v", test)
	}
	if !slices.Equal(test, compose.HealthCheckTest(image.config.Healthcheck.Test)) {
		t.Errorf("the image's own healthcheck is %v", image.config.Healthcheck.Test)
	}
	if code, output := image.ran(t, map[string]string{"LISTEN_ADDR": running.address}, test[2:]...); code != 0 || output != "" {
		t.Errorf("the healthcheck exits with %d and says:\n%s", code, output)
	}
	running.drain()
	if code, output := image.ran(t, map[string]string{"LISTEN_ADDR": running.address}, test[2:]...); code != 1 {
		t.Errorf("after the end the healthcheck exits with %d and says:\n%s", code, output)
	}

	// The password may stand in a file.
	address, err := url.Parse(env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	if err := os.WriteFile(filepath.Join(image.root, "pgpass"), []byte("*:*:onceql:onceql:"+password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	address.User = url.User("onceql")
	env["DATABASE_URL"], env["PGPASSFILE"] = address.String(), "/pgpass"
	fromFile := image.serve(t, env)
	fromFile.wantCreated("other")
	fromFile.drain()
}

func TestCompose_SaysWhatTheProgramKnows(t *testing.T) {
	t.Parallel()
	project := composeProject(t)
	checkSettings(t, "the server", environment(t, project.Services["server"]))
	checkSettings(t, "the migration", environment(t, project.Services["migrate"]), "migrate", "up")
	for name, service := range project.Services {
		if strings.HasPrefix(service.Image, "onceql:") && (!service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") ||
			!slices.Contains(service.SecurityOpt, "no-new-privileges:true") || service.Privileged || service.User != "") {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
	server := project.Services["server"]
	if on := server.DependsOn["migrate"].Condition; on != compose.ServiceConditionCompletedSuccessfully {
		t.Errorf("the server starts when the migration is %q", on)
	}
	env := environment(t, server)
	drain := duration(t, env["DRAIN_DELAY"]) + duration(t, env["DRAIN_TIMEOUT"])
	if grace := server.StopGracePeriod; grace == nil || time.Duration(*grace) < drain+afterDrain {
		t.Errorf("the server drains for %s, and is killed after %v", drain, grace)
	}
	if _, exposed := builtConfig(t).ExposedPorts[portOf(server)+"/tcp"]; !exposed {
		t.Errorf("the file publishes the port %s, which the image does not expose", portOf(server))
	}
	if server.MemLimit == 0 {
		t.Error("the server's memory has no limit")
	}
	for _, secret := range []string{"ONCEQL_OWNER_PASSWORD", "POSTGRES_PASSWORD"} {
		for _, name := range []string{"server", "migrate"} {
			for _, value := range environment(t, project.Services[name]) {
				if owners := name == "migrate" && secret == "ONCEQL_OWNER_PASSWORD"; !owners && strings.Contains(value, project.Environment[secret]) {
					t.Errorf("%s is told %s", name, secret)
				}
			}
		}
	}
}

// Without a password nothing is started.
func TestCompose_NamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"compose/compose.yaml"}, cli.WithEnv([]string{"ONCEQL_VERSION=1"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := options.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), "PASSWORD") {
		t.Errorf("without .env: %v", err)
	}
}

// composeProject loads the file as Compose does, with the .env that the docs' commands make.
func composeProject(t testing.TB, env ...string) *compose.Project {
	t.Helper()
	dir := t.TempDir()
	shell := exec.Command("/bin/sh", "-e", "-c", block(t, "sh", "umask 077"))
	shell.Dir = dir
	if output, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	file := filepath.Join(dir, ".env")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Fatalf("others may read .env: %v", err)
	}
	options, err := cli.NewProjectOptions([]string{"compose/compose.yaml"}, cli.WithEnv(env), cli.WithEnvFiles(file), cli.WithDotEnv)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func environment(t testing.TB, service compose.ServiceConfig) map[string]string {
	t.Helper()
	env := map[string]string{}
	for name, value := range service.Environment {
		if value == nil {
			t.Fatalf("%s has no value for %s", service.Name, name)
		}
		env[name] = *value
	}
	return env
}

// portOf is the one port that the service publishes.
func portOf(service compose.ServiceConfig) string {
	if len(service.Ports) != 1 {
		return ""
	}
	return fmt.Sprint(service.Ports[0].Target)
}
