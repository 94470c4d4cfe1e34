module github.com/onceql/onceql/bench

go 1.26.0
