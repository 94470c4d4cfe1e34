//go:build !linux

package embeddedpg

import "syscall"

// dieWithParent is the kernel's doing on Linux alone. Elsewhere the next start
// ends a Postgres that a killed supervisor left behind.
func dieWithParent(*syscall.SysProcAttr) {}
