package main

import (
	"errors"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// A manifest is what the files in kubernetes/ have.
type manifest struct {
	deployment *apps.Deployment
	job        *batch.Job
	service    *core.Service
	budget     *policy.PodDisruptionBudget
	network    *networking.NetworkPolicy
	configs    map[string]*core.ConfigMap
	secrets    map[string]*core.Secret
}

// The pods' commands, from the image and with what the manifests set.
func TestKubernetes_ServesFromNothing(t *testing.T) {
	t.Parallel()
	m := manifests(t)
	host := database(t, map[string]string{
		"ONCEQL_PASSWORD": "CHANGE_ME", "ONCEQL_OWNER_PASSWORD": "CHANGE_ME", "ONCEQL_OPERATOR_PASSWORD": "CHANGE_ME",
	})
	image := unpack(t, builtImage(t))
	migrate, pod := onlyContainer(t, m.job.Spec.Template), onlyContainer(t, m.deployment.Spec.Template)
	if code, output := image.ran(t, onDatabase(t, m.environment(t, migrate), host), migrate.Args...); code != 0 || strings.Contains(output, "pending") {
		t.Fatalf("the job exits with %d and says:\n%s", code, output)
	}
	env := onDatabase(t, m.environment(t, pod), host)
	env["LISTEN_ADDR"], env["METRICS_ADDR"], env["DRAIN_DELAY"] = "127.0.0.1:0", "127.0.0.1:0", "0s"
	var authority []byte
	env["AUTH_ISSUER"], authority = issuer(t)
	stranger := image.serve(t, env, pod.Args...)
	if !strings.Contains(stranger.output.String(), "certificate signed by unknown authority") {
		t.Errorf("the issuer's certificate was not looked at:\n%s", &stranger.output)
	}
	stranger.drain()
	// As docs/operations/deployment.md says of an authority of one's own.
	if err := os.WriteFile(image.root+"/etc/ssl/certs/ca-certificates.crt", authority, 0o600); err != nil {
		t.Fatal(err)
	}
	running := image.serve(t, env, pod.Args...)
	if strings.Contains(running.output.String(), "certificate") {
		t.Errorf("the issuer's certificate is not accepted:\n%s", &running.output)
	}
	running.wantContained()
	for name, probe := range map[string]*core.Probe{"startup": pod.StartupProbe, "readiness": pod.ReadinessProbe, "liveness": pod.LivenessProbe} {
		if got := running.status(probe.HTTPGet.Path); got != http.StatusOK {
			t.Errorf("the %s probe gets %d", name, got)
		}
	}
	running.drain()
}

func TestKubernetes_SaysWhatTheProgramKnows(t *testing.T) {
	t.Parallel()
	m := manifests(t)
	migrate, pod := onlyContainer(t, m.job.Spec.Template), onlyContainer(t, m.deployment.Spec.Template)
	env := m.environment(t, pod)
	checkSettings(t, "the deployment", env, "serve")
	checkSettings(t, "the job", m.environment(t, migrate), "migrate", "up")
	for name := range env {
		if strings.HasPrefix(name, "MIGRATION_") || strings.HasPrefix(name, "OPERATOR_") {
			t.Errorf("the servers are told %s", name)
		}
	}
	if pod.Image != migrate.Image {
		t.Errorf("%s would run on the schema of %s", pod.Image, migrate.Image)
	}

	spec := m.deployment.Spec.Template.Spec
	delay := duration(t, env["DRAIN_DELAY"])
	grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
	if drain := delay + duration(t, env["DRAIN_TIMEOUT"]); grace < drain+afterDrain {
		t.Errorf("a server drains for %s, and is killed after %s", drain, grace)
	}
	ready := pod.ReadinessProbe
	if noticed := time.Duration(ready.PeriodSeconds*ready.FailureThreshold+ready.TimeoutSeconds) * time.Second; delay < noticed {
		t.Errorf("that a server drains is noticed within %s, and it takes requests for %s", noticed, delay)
	}
	if path := ready.HTTPGet.Path; path != "/readyz" {
		t.Errorf("traffic follows %s", path)
	}
	if path := pod.LivenessProbe.HTTPGet.Path; path != "/healthz" {
		t.Errorf("a pod is restarted for %s", path)
	}

	ports := map[string]int32{}
	for _, port := range pod.Ports {
		ports[port.Name] = port.ContainerPort
	}
	if _, exposed := builtConfig(t).ExposedPorts[strconv.Itoa(int(ports["http"]))+"/tcp"]; !exposed {
		t.Errorf("the image does not listen on %d", ports["http"])
	}
	if address := ":" + strconv.Itoa(int(ports["metrics"])); env["METRICS_ADDR"] != address {
		t.Errorf("the port of metrics is %s, and METRICS_ADDR %s", address, env["METRICS_ADDR"])
	}
	for _, port := range m.service.Spec.Ports {
		if ports[port.TargetPort.StrVal] != ports["http"] {
			t.Errorf("the service leads to the port %s", port.TargetPort.String())
		}
	}
	for _, probe := range []*core.Probe{pod.StartupProbe, pod.ReadinessProbe, pod.LivenessProbe} {
		if probe.HTTPGet.Port.StrVal != "http" {
			t.Errorf("%s is asked for at the port %s", probe.HTTPGet.Path, probe.HTTPGet.Port.String())
		}
	}
	for _, rule := range m.network.Spec.Ingress {
		for _, port := range rule.Ports {
			if ports[port.Port.StrVal] == 0 || port.Port.StrVal == "metrics" && len(rule.From) == 0 {
				t.Errorf("the network lets everyone in at %s", port.Port.String())
			}
		}
	}
}

// The servers are those that the others select, and the job's pods are none of them.
func TestKubernetes_SelectsTheServers(t *testing.T) {
	t.Parallel()
	m := manifests(t)
	for name, selector := range map[string]*meta.LabelSelector{
		"deployment": m.deployment.Spec.Selector, "service": {MatchLabels: m.service.Spec.Selector},
		"budget": m.budget.Spec.Selector, "network policy": &m.network.Spec.PodSelector,
		"spread": m.deployment.Spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector,
	} {
		selects, err := meta.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		if !selects.Matches(labels.Set(m.deployment.Spec.Template.Labels)) || selects.Matches(labels.Set(m.job.Spec.Template.Labels)) {
			t.Errorf("the %s selects others than the servers: %s", name, selects)
		}
	}
	update := m.deployment.Spec.Strategy.RollingUpdate
	if *m.deployment.Spec.Replicas < 2 || update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() < 1 {
		t.Errorf("an update takes servers away: %v of %d", update, *m.deployment.Spec.Replicas)
	}
	if m.budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("a disruption may take %v", m.budget.Spec.MaxUnavailable)
	}
}

// As https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted has it.
func TestKubernetes_PodsAreRestricted(t *testing.T) {
	t.Parallel()
	m := manifests(t)
	user, _, _ := strings.Cut(builtConfig(t).User, ":")
	for name, template := range map[string]core.PodTemplateSpec{"deployment": m.deployment.Spec.Template, "job": m.job.Spec.Template} {
		spec, c := template.Spec, onlyContainer(t, template)
		pod, own := spec.SecurityContext, c.SecurityContext
		switch {
		case !*pod.RunAsNonRoot || strconv.FormatInt(*pod.RunAsUser, 10) != user:
			t.Errorf("the %s runs as another user than the image's, %s", name, user)
		case pod.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault:
			t.Errorf("the %s has no seccomp profile", name)
		case *own.AllowPrivilegeEscalation || !*own.ReadOnlyRootFilesystem || own.Privileged != nil ||
			!slices.Equal(own.Capabilities.Drop, []core.Capability{"ALL"}) || len(own.Capabilities.Add) > 0:
			t.Errorf("the %s has more rights than it needs", name)
		case spec.HostNetwork || spec.HostPID || spec.HostIPC || len(spec.Volumes) > 0 || *spec.AutomountServiceAccountToken:
			t.Errorf("the %s has something of its node's or of the cluster's", name)
		case c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero():
			t.Errorf("the %s may take any memory", name)
		}
	}
}

func manifests(t testing.TB) manifest {
	t.Helper()
	m := manifest{configs: map[string]*core.ConfigMap{}, secrets: map[string]*core.Secret{}}
	for _, file := range []string{"onceql.yaml", "migrate.yaml", "secrets.example.yaml"} {
		for document := range strings.SplitSeq(read(t, "kubernetes/"+file), "\n---\n") {
			m.add(t, file, []byte(document))
		}
	}
	return m
}

// add decodes a document, of which every member has to be known and stand once.
func (m *manifest) add(t testing.TB, file string, document []byte) {
	t.Helper()
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	decode := func(into any) {
		if err := decodeStrictly(document, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		decode(&m.deployment)
	case "batch/v1 Job":
		decode(&m.job)
	case "v1 Service":
		decode(&m.service)
	case "policy/v1 PodDisruptionBudget":
		decode(&m.budget)
	case "networking.k8s.io/v1 NetworkPolicy":
		decode(&m.network)
	case "v1 ConfigMap":
		var config core.ConfigMap
		decode(&config)
		m.configs[config.Name] = &config
	case "v1 Secret":
		var secret core.Secret
		decode(&secret)
		m.secrets[secret.Name] = &secret
	default:
		t.Fatalf("%s has a %s %s", file, kind.APIVersion, kind.Kind)
	}
}

// decodeStrictly decodes as Kubernetes does where it is strict.
func decodeStrictly(document []byte, into any) error {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(text, into)
	return errors.Join(append(strict, err)...)
}

func TestKubernetes_WordsThatAreNoneAreFound(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"replica: 2", "Replicas: 2", "replicas: two", "replicas: 2\nreplicas: 2"} {
		if err := decodeStrictly([]byte(wrong), new(apps.DeploymentSpec)); err == nil {
			t.Errorf("%q is taken for something", wrong)
		}
	}
}

func onlyContainer(t testing.TB, template core.PodTemplateSpec) core.Container {
	t.Helper()
	if spec := template.Spec; len(spec.Containers) != 1 || len(spec.InitContainers) > 0 {
		t.Fatal("the pod has not one container")
	}
	return template.Spec.Containers[0]
}

// environment is the container's, as Kubernetes makes it.
func (m manifest) environment(t testing.TB, c core.Container) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		var values map[string]string
		switch {
		case from.ConfigMapRef != nil && m.configs[from.ConfigMapRef.Name] != nil:
			values = m.configs[from.ConfigMapRef.Name].Data
		case from.SecretRef != nil && m.secrets[from.SecretRef.Name] != nil:
			values = m.secrets[from.SecretRef.Name].StringData
		default:
			t.Fatalf("%s takes its environment from what there is not: %v", c.Name, from)
		}
		for name, value := range values {
			env[from.Prefix+name] = value
		}
	}
	if len(c.Env) > 0 {
		t.Fatalf("%s has variables of its own, which this test does not know", c.Name)
	}
	return env
}
