package network

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
)

// Other people's firewalls. Docker sets the policy of iptables' FORWARD chain to DROP, and a packet has to be accepted in
// every table. So where that chain drops, two rules of ours go to DOCKER-USER, which Docker keeps for such rules, or to
// FORWARD itself. Their comment is our table's name: that is how they are found and taken out again.

var iptablesFamilies = [...]nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}

// foreignChains are where accepts may stand, best first.
var foreignChains = [...]string{"DOCKER-USER", "FORWARD"}

// accepts is how many rules of ours a chain has.
const accepts = 2

// acceptForward puts our accepts where they are needed and not there yet.
func (s *state) acceptForward(fw *firewall) error {
	for _, family := range iptablesFamilies {
		chain, err := fw.dropper(family)
		if err != nil {
			return err
		}
		if chain == nil || len(chain.tagged(s.table())) == accepts {
			continue
		}
		if err := s.removeForward(fw, family); err != nil {
			return err
		}
		if err := fw.insertAccepts(chain, s.bridge(), s.table()); err != nil {
			return err
		}
	}
	return nil
}

// dropper is the chain of iptables' filter table that our accepts belong into, nil when nothing is dropped there. A
// FORWARD chain with rules counts: the last one of them is often the drop.
func (fw *firewall) dropper(family nftables.TableFamily) (*foreignChain, error) {
	for _, name := range foreignChains {
		chain, err := fw.foreign(family, name)
		if err != nil {
			return nil, err
		}
		if chain != nil && (name != "FORWARD" || chain.drops || len(chain.rules) > 0) {
			return chain, nil
		}
	}
	return nil, nil
}

// insertAccepts lets Pods out, and lets in what answers them or comes by a host port. They are the rules
//
//	-i BRIDGE -j ACCEPT
//	-o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
//
// made of what iptables-nft makes them of, so that it can still list and save its table.
func (fw *firewall) insertAccepts(chain *foreignChain, bridge, tag string) error {
	conn, err := fw.write()
	if err != nil {
		return err
	}
	const established, related, dnat = 1 << 1, 1 << 2, 1 << 7 // linux/netfilter/xt_conntrack.h
	state := &expr.Match{Name: "conntrack", Rev: 3, Info: &xt.ConntrackMtinfo3{ConntrackMtinfo2: xt.ConntrackMtinfo2{
		ConntrackMtinfoBase: xt.ConntrackMtinfoBase{MatchFlags: uint16(xt.ConntrackState)},
		StateMask:           established | related | dnat,
	}}}
	comment := userdata.AppendString(nil, userdata.TypeComment, tag)
	insert := func(match ...expr.Any) {
		conn.InsertRule(&nftables.Rule{
			Table: chain.chain().Table, Chain: chain.chain(), UserData: comment,
			Exprs: append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}),
		})
	}
	insert(append(shortName(expr.MetaKeyOIFNAME, bridge), state)...)
	insert(shortName(expr.MetaKeyIIFNAME, bridge)...)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cannot accept the pods' traffic in chain %s: %w", chain.name, err)
	}
	return nil
}

// shortName matches an interface the way iptables-nft writes it: the name with its zero byte and no more.
func shortName(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(name), 0)}}
}

// tagged are the chain's rules whose comment begins with tag.
func (c *foreignChain) tagged(tag string) []foreignRule {
	var found []foreignRule
	for _, r := range c.rules {
		if strings.HasPrefix(r.tag, tag) {
			found = append(found, r)
		}
	}
	return found
}

// removeForward takes our accepts out of both chains.
func (s *state) removeForward(fw *firewall, families ...nftables.TableFamily) error {
	for _, family := range families {
		for _, name := range foreignChains {
			chain, err := fw.foreign(family, name)
			if err != nil {
				return err
			}
			if chain == nil {
				continue
			}
			for _, r := range chain.tagged(s.table()) {
				conn, err := fw.write()
				if err != nil {
					return err
				}
				c := chain.chain()
				if err := conn.DelRule(&nftables.Rule{Table: c.Table, Chain: c, Handle: r.handle}); err != nil {
					return fmt.Errorf("cannot remove a rule from chain %s: %w", name, err)
				}
			}
		}
	}
	if fw.conn == nil {
		return nil
	}
	if err := fw.conn.Flush(); err != nil {
		return fmt.Errorf("cannot remove rules from iptables' filter table: %w", err)
	}
	return nil
}

// foreignDrops says which firewalls that we do not speak to drop forwarded packets, or may.
func foreignDrops(fw *firewall, bridge string) ([]string, error) {
	conn, err := fw.write()
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("cannot list nftables chains: %w", err)
	}
	var notes []string
	for _, c := range chains {
		if c.Table.Name == "firewalld" && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward {
			// Its policy is accept and its last rule rejects.
			notes = append(notes, fmt.Sprintf("firewalld rejects forwarded packets: run firewall-cmd --zone=trusted --add-interface=%s", bridge))
			continue
		}
		iptables := c.Table.Name == filterTable && c.Name == "FORWARD" && c.Table.Family != nftables.TableFamilyINet
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Policy == nil ||
			*c.Policy != nftables.ChainPolicyDrop || iptables || c.Table.Family == nftables.TableFamilyBridge {
			continue
		}
		notes = append(notes, fmt.Sprintf("nftables chain %s of table %s drops forwarded packets: let interface %s through there", c.Name, c.Table.Name, bridge))
	}
	for file, command := range map[string]string{"ip_tables_names": "iptables-legacy", "ip6_tables_names": "ip6tables-legacy"} {
		// The old interface hands tables over whole and has no way to change one rule, so a person has to do it.
		tables, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err == nil && slices.Contains(strings.Fields(string(tables)), filterTable) {
			notes = append(notes, fmt.Sprintf("%s has a filter table: if its FORWARD chain drops, run %s -I FORWARD -i %s -j ACCEPT, and the same with -o", command, command, bridge))
		}
	}
	slices.Sort(notes)
	return notes, nil
}
