package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/onceql/onceql/bench/load"
)

func main() {
	conns, _ := strconv.Atoi(os.Args[2])
	secs, _ := strconv.Atoi(os.Args[3])
	mode := "distinct"
	if len(os.Args) > 4 {
		mode = os.Args[4]
	}
	prefix := fmt.Sprintf("%x-", time.Now().UnixNano())
	key := func(n int) int {
		switch mode {
		case "one":
			return 0
		case "replays":
			return n % 10000
		}
		return n
	}
	l := load.Load{Address: os.Args[1], Path: "/graphql", Connections: conns, Duration: time.Duration(secs) * time.Second,
		Request: func(out []byte, n int) []byte {
			k := key(n)
			out = append(out, `{"query":"mutation Create($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) { project { id name description createdAt } } }","variables":{"input":{"name":"Project `...)
			out = strconv.AppendInt(out, int64(k), 10)
			out = append(out, `","description":"Made by a load test"},"key":"`...)
			out = append(out, prefix...)
			out = strconv.AppendInt(out, int64(k), 10)
			return append(out, `"}}`...)
		},
		Check: func(n, status int, answer []byte) error {
			if status != 200 || !bytes.Contains(answer, []byte(`"name":"Project `+strconv.Itoa(key(n))+`"`)) {
				return fmt.Errorf("%d %s", status, answer)
			}
			return nil
		}}
	if mode == "replays" {
		d := l.Duration
		l.Duration, l.Requests = 0, 10000
		if _, err := load.Run(l, 0); err != nil {
			panic(err)
		}
		l.Duration, l.Requests = d, 0
	}
	r, err := load.Run(l, 0)
	fmt.Printf("%s %d conns: %.0f/s p50 %v p99 %v %v\n", mode, conns, r.PerSecond(), r.Quantile(0, .5), r.Quantile(0, .99), err)
}
