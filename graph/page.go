package graph

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/model"
)

// maxPage is how many projects one page holds at most.
const maxPage = 100

// A cursor is a version byte, the microseconds of createdAt since 1970, and the
// id. It tells a place in the order, whoever's project is there.
const (
	cursorVersion = 1
	cursorLength  = 1 + 8 + 16
)

func cursor(p db.Project) string {
	raw := make([]byte, 0, cursorLength)
	raw = append(raw, cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.CreatedAt.UnixMicro()))
	raw = append(raw, p.ID[:]...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parseCursor(text string) (*db.ProjectPosition, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder passes over line breaks; cursors have none.
	if err != nil || len(raw) != cursorLength || len(text) != base64.RawURLEncoding.EncodedLen(cursorLength) || raw[0] != cursorVersion {
		return nil, badInput("after is not a cursor of this connection")
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:9])))
	// Postgres's timestamps end in the year 294276, before Go's do.
	if year := at.UTC().Year(); year < 1970 || year > 9999 {
		return nil, badInput("after is not a cursor of this connection")
	}
	return &db.ProjectPosition{CreatedAt: at, ID: uuid.UUID(raw[9:])}, nil
}

// connection makes a page of at most first projects out of found, which has one
// more when others follow.
// https://relay.dev/graphql/connections.htm
func connection(found []db.Project, first int, continued bool) *model.ProjectConnection {
	page := &model.ProjectConnection{
		Edges:    []*model.ProjectEdge{},
		Nodes:    []*model.Project{},
		PageInfo: &model.PageInfo{HasNextPage: len(found) > first, HasPreviousPage: continued},
	}
	for _, p := range found[:min(first, len(found))] {
		node := projectModel(p)
		page.Nodes = append(page.Nodes, node)
		page.Edges = append(page.Edges, &model.ProjectEdge{Cursor: cursor(p), Node: node})
	}
	if n := len(page.Edges); n > 0 {
		page.PageInfo.StartCursor = &page.Edges[0].Cursor
		page.PageInfo.EndCursor = &page.Edges[n-1].Cursor
	}
	return page
}
