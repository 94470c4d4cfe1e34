package main

import (
	"context"
	"errors"
)

func (d *drill) upgrade(ctx context.Context) (bool, error) { return false, errors.New("not yet") }
