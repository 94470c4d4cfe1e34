// Command genqlient creates a project with Khan/genqlient:
//
//	go run . http://127.0.0.1:8080/graphql NAME
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/Khan/genqlient/graphql"
	"github.com/google/uuid"
)

//go:generate go tool genqlient

func main() {
	url, name := "http://127.0.0.1:8080/graphql", "Apollo"
	if len(os.Args) == 3 {
		url, name = os.Args[1], os.Args[2]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := graphql.NewClient(url, newRetryingClient())

	// The key is made above what retries: all tries of this call have it. To call again
	// after a crash, store it with what it is for, before the call.
	key := uuid.Must(uuid.NewV7()).String()
	created, err := CreateProject(ctx, client, CreateProjectInput{Name: name}, key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.CreateProject.Project.Id)
}
