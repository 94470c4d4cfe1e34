package container

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

//go:embed Dockerfile
var dockerfile string

// A stage is what the last one of a Dockerfile says.
type stage struct {
	config v1.Config
	copies []fromBuild
}

// fromBuild is a COPY of one file from the first stage.
type fromBuild struct{ from, to, instruction string }

// parse reads the last stage, with values for its ARGs. It knows what the Dockerfile beside
// it has, one instruction to a line, and refuses everything else.
func parse(text string, arguments map[string]string) (stage, error) {
	result := stage{config: v1.Config{Labels: map[string]string{}, ExposedPorts: map[string]struct{}{}}}
	_, last, found := strings.Cut(text, "\nFROM scratch\n")
	if !found {
		return stage{}, errors.New("its last stage is not from scratch")
	}
	for line := range strings.SplitSeq(last, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := result.add(line, arguments); err != nil {
			return stage{}, fmt.Errorf("%q: %w", line, err)
		}
	}
	return result, nil
}

// A pair is a name and its value in quotes, in which nothing has to be escaped.
var pair = regexp.MustCompile(`^([\w.]+)="([^"\\]*)"$`)

func (s *stage) add(line string, arguments map[string]string) error {
	instruction, rest, _ := strings.Cut(line, " ")
	switch instruction {
	case "ARG":
		name, _, _ := strings.Cut(rest, "=")
		if _, known := arguments[name]; !known {
			return errors.New("it has no value")
		}
	case "COPY":
		words := strings.Fields(rest)
		if len(words) != 3 || words[0] != "--from=build" {
			return errors.New("it is no copy of one file from the stage build")
		}
		s.copies = append(s.copies, fromBuild{words[1], words[2], line})
	case "LABEL", "ENV":
		found := pair.FindStringSubmatch(rest)
		if found == nil {
			return errors.New(`it is not of the form name="value"`)
		}
		value := os.Expand(found[2], func(name string) string { return arguments[name] })
		if instruction == "LABEL" {
			s.config.Labels[found[1]] = value
		} else {
			s.config.Env = append(s.config.Env, found[1]+"="+value)
		}
	case "EXPOSE":
		if _, err := strconv.ParseUint(rest, 10, 16); err != nil {
			return err
		}
		s.config.ExposedPorts[rest+"/tcp"] = struct{}{}
	case "USER":
		s.config.User = rest
	case "WORKDIR":
		s.config.WorkingDir = rest
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(rest), &s.config.Entrypoint)
	case "HEALTHCHECK":
		return s.addHealthcheck(rest)
	default:
		return errors.New("this instruction is not known here")
	}
	return nil
}

func (s *stage) addHealthcheck(text string) error {
	options, command, _ := strings.Cut(text, " CMD ")
	var words []string
	if err := json.Unmarshal([]byte(command), &words); err != nil {
		return err
	}
	check := &v1.HealthConfig{Test: append([]string{"CMD"}, words...)}
	for _, option := range strings.Fields(options) {
		name, value, _ := strings.Cut(option, "=")
		field := map[string]*time.Duration{
			"--interval": &check.Interval, "--timeout": &check.Timeout, "--start-period": &check.StartPeriod,
		}[name]
		if field == nil {
			return fmt.Errorf("%s is not known here", name)
		}
		var err error
		if *field, err = time.ParseDuration(value); err != nil {
			return err
		}
	}
	s.config.Healthcheck = check
	return nil
}
