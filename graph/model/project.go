package model

import "time"

// A Project is that of the schema. It is written by hand because payloads store it, and
// those of builds that knew no versions have to be replayed.
type Project struct {
	ID string `json:"id"`
	// StoredVersion is the version, and 0 in a payload without one. Such a member may be
	// missing from what is stored, see idempotency.CheckComplete.
	StoredVersion int32 `json:"version,omitzero"`

	Name        string     `json:"name"`
	Description *string    `json:"description,omitempty"`
	CreatedAt   time.Time  `json:"createdAt"`
	UpdatedAt   time.Time  `json:"updatedAt"`
	ArchivedAt  *time.Time `json:"archivedAt,omitempty"`
}

// Version resolves Project.version. A payload without one is of the first.
func (p *Project) Version() int32 { return max(p.StoredVersion, 1) }
