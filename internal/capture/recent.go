package capture

import "time"

// Recent is a Sink that keeps the packets of the last seconds in memory, until they are asked for.
type Recent struct {
	To    Sink          // gets the packets that are asked for
	Last  time.Duration // how long a packet is kept
	Bytes int           // of packets at most, the oldest go first; 0 is 256 MiB
	Now   func() time.Time

	packets []Packet // those from first on
	first   int
	size    int
}

const (
	recentBytes = 256 << 20
	packetCost  = 96 // bytes of memory beside the data
)

// Packet keeps a packet.
func (r *Recent) Packet(p *Packet) error {
	kept := *p
	kept.Data = append([]byte(nil), p.Data...)
	r.packets = append(r.packets, kept)
	r.size += len(kept.Data) + packetCost
	limit := r.Bytes
	if limit == 0 {
		limit = recentBytes
	}
	r.drop(p.Time-int64(r.Last), limit)
	return nil
}

// drop forgets packets that are too old, or too many.
func (r *Recent) drop(before int64, limit int) {
	for r.first < len(r.packets) && (r.packets[r.first].Time < before || r.size > limit) {
		r.size -= len(r.packets[r.first].Data) + packetCost
		r.packets[r.first] = Packet{}
		r.first++
	}
	if r.first > 4096 && r.first > len(r.packets)/2 {
		r.packets = append([]Packet(nil), r.packets[r.first:]...)
		r.first = 0
	}
}

// Flush has nothing to do: packets are kept until Give.
func (r *Recent) Flush() error { return nil }

// Give gives away the packets of the last seconds, and forgets them.
func (r *Recent) Give() error {
	now := time.Now()
	if r.Now != nil {
		now = r.Now()
	}
	r.drop(now.UnixNano()-int64(r.Last), 1<<62)
	for i := range r.packets[r.first:] {
		if err := r.To.Packet(&r.packets[r.first+i]); err != nil {
			return err
		}
	}
	r.packets, r.first, r.size = nil, 0, 0
	return r.To.Flush()
}
