// Package container makes OnceQL's image without Docker, to the last bit the same from the
// same program: the Dockerfile beside it says what is in its last stage.
package container

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// epoch is when everything in an image was made: the time of a build is no part of it.
var epoch = time.Unix(0, 0).UTC()

// machines are those of the architectures that there are images for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// What the Dockerfile copies from its first stage.
const (
	builtProgram = "/src/bin/onceql"
	builtRoots   = "/etc/ssl/certs/ca-certificates.crt"
)

// New returns the image of the program, a file, for Linux on the architecture, as Go names
// it. It refuses a program that needs another machine, or any library.
func New(program, architecture, version string) (v1.Image, error) {
	stage, err := parse(dockerfile, map[string]string{"VERSION": version})
	if err != nil {
		return nil, fmt.Errorf("the Dockerfile: %w", err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if err := check(content, architecture); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	files := map[string]file{
		builtProgram: {content, 0o755},
		builtRoots:   {roots(), 0o644},
	}
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		Architecture: architecture,
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		RootFS:       v1.RootFS{Type: "layers"},
		Config:       stage.config,
	})
	if err != nil {
		return nil, err
	}
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, c := range stage.copies {
		copied, known := files[c.from]
		if !known {
			return nil, fmt.Errorf("the Dockerfile copies %s, which is not known here", c.from)
		}
		added, err := layer(c.to, copied)
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer:   added,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: c.instruction},
		})
		if err != nil {
			return nil, err
		}
	}
	return image, nil
}

// Index returns an index of the images, from which the one for a machine is chosen.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}},
		})
	}
	return index, nil
}

// A file is what it holds and what may be done to it. It is root's.
type file struct {
	content []byte
	mode    int64
}

// layer has the file at that path, and the directories above it.
func layer(to string, f file) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	name := strings.TrimPrefix(to, "/")
	var above []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above = append([]string{dir}, above...)
	}
	for _, dir := range above {
		if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(f.content)), Mode: f.mode, ModTime: epoch})
	if err == nil {
		_, err = writer.Write(f.content)
	}
	if err = errors.Join(err, writer.Close()); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// check refuses what an image that holds nothing else can't run.
func check(program []byte, architecture string) error {
	machine, known := machines[architecture]
	if !known {
		return fmt.Errorf("there are no images for %q", architecture)
	}
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("it is no program for Linux: %w", err)
	}
	if binary.Machine != machine {
		return fmt.Errorf("it is for %s, and the image for %s", binary.Machine, machine)
	}
	for _, part := range binary.Progs {
		if part.Type == elf.PT_INTERP {
			return errors.New("it is not static: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// roots are the certificates that Mozilla trusts, as the module golang.org/x/crypto has them:
// go.sum says which. One whose trust has a condition, which a file can't tell, is left out.
func roots() []byte {
	var file bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return file.Bytes()
}
