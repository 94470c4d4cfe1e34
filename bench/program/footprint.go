package program

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Footprint is what a process has of its machine. Memory is resident, in bytes; Peak
// is the most of it since the start, or since ResetPeak.
type Footprint struct{ Memory, Peak, Threads, Files int64 }

// Footprint is what the server has now.
func (s *Server) Footprint() (f Footprint, err error) {
	dir := fmt.Sprintf("/proc/%d", s.PID())
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			f.Memory = n << 10
		case "VmHWM:":
			f.Peak = n << 10
		case "Threads:":
			f.Threads = n
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	f.Files = int64(len(files))
	return f, err
}

// ResetPeak makes Peak begin anew.
// https://docs.kernel.org/filesystems/proc.html (clear_refs)
func (s *Server) ResetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.PID()), []byte("5"), 0)
}
