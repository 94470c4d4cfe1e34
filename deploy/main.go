// Deploy writes OnceQL's image, for each architecture that it has a program for, as what
// Docker and others take: `make image`.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/onceql/onceql/deploy/container"
)

func main() {
	out := flag.String("out", "", "directory to write into")
	version := flag.String("version", "devel", "version of the program")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: deploy -out DIRECTORY [-version VERSION] ARCHITECTURE=PROGRAM…")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(*out, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

// write makes, in the directory, an OCI layout of all images, and an archive of each that
// `docker load` takes.
func write(out, version string, programs []string) error {
	tag, err := name.NewTag("onceql:" + strings.Map(tagLetter, version))
	if err != nil {
		return err
	}
	var images []v1.Image
	for _, argument := range programs {
		architecture, program, _ := strings.Cut(argument, "=")
		image, err := container.New(program, architecture, version)
		if err != nil {
			return err
		}
		archive := filepath.Join(out, "onceql-"+architecture+".tar")
		if err := tarball.WriteToFile(archive, tag, image); err != nil {
			return err
		}
		digest, err := image.Digest()
		if err != nil {
			return err
		}
		fmt.Printf("%s\t%s\tdocker load -i %s\n", architecture, digest, archive)
		images = append(images, image)
	}
	index, err := container.Index(images...)
	if err != nil {
		return err
	}
	directory := filepath.Join(out, "oci")
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	all, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag.TagStr()})
	if err := all.AppendIndex(index, named); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("all\t%s\tskopeo copy --all oci:%s:%s docker://…\n", digest, directory, tag.TagStr())
	return nil
}

// tagLetter makes a version what a tag may be: a build's version may have a plus sign.
func tagLetter(r rune) rune {
	if r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
		return r
	}
	return '-'
}
