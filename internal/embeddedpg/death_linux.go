package embeddedpg

import "syscall"

// dieWithParent has the kernel shut the process down when its parent is killed,
// so that a supervisor that was killed leaves no Postgres behind either.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGINT }
