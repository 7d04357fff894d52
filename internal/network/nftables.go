package network

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// firewall speaks to nftables, in the network namespace of its opener's thread. Writing is the library's; the short
// questions that each Pod's start asks are our own, because the library's answers cannot tell "there is none" from another
// error, and because it reads every expression of other people's rules where we want a comment.
type firewall struct {
	*socket
	conn *nftables.Conn
}

func openFirewall() (*firewall, error) {
	s, err := openSocket(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &firewall{socket: s}, nil
}

func (fw *firewall) Close() error {
	if fw.conn != nil {
		_ = fw.conn.CloseLasting()
	}
	return fw.socket.Close()
}

// write is the library's connection.
func (fw *firewall) write() (*nftables.Conn, error) {
	if fw.conn == nil {
		conn, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return nil, fmt.Errorf("cannot open nftables: %w", err)
		}
		fw.conn = conn
	}
	return fw.conn, nil
}

// genMsg is struct nfgenmsg: the family, version 0, resource 0.
type genMsg byte

func (m genMsg) Len() int          { return 4 }
func (m genMsg) Serialize() []byte { return []byte{byte(m), unix.NFNETLINK_V0, 0, 0} }

// names is a request with text attributes in the order of their numbers, from 1.
func names(what string, message int, family nftables.TableFamily, attrs map[int]string) ask {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|message, 0)
	req.AddData(genMsg(family))
	for attr, name := range attrs {
		req.AddData(nl.NewRtAttr(attr, nl.ZeroTerminated(name)))
	}
	return asking(what, req)
}

// payload are the attributes of an answer.
func payload(data []byte) (map[uint16][]byte, error) {
	if len(data) < genMsg(0).Len() {
		return nil, errors.New("short netlink answer")
	}
	return attributes(data[genMsg(0).Len():]), nil
}

// has asks for one thing and says whether it is there.
func (fw *firewall) has(a ask) (bool, error) {
	_, err := fw.get(a)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

func (fw *firewall) hasTable(name string) (bool, error) {
	return fw.has(names("look for nftables table "+name, unix.NFT_MSG_GETTABLE, nftables.TableFamilyINet,
		map[int]string{unix.NFTA_TABLE_NAME: name}))
}

func (fw *firewall) hasMap(table, name string) (bool, error) {
	return fw.has(names("look for map "+name, unix.NFT_MSG_GETSET, nftables.TableFamilyINet,
		map[int]string{unix.NFTA_SET_TABLE: table, unix.NFTA_SET_NAME: name}))
}

// foreignChain is a chain of iptables' filter table, as nftables shows it.
type foreignChain struct {
	family nftables.TableFamily
	name   string
	drops  bool // a base chain whose policy is drop
	rules  []foreignRule
}

type foreignRule struct {
	handle uint64
	tag    string // its comment
}

const filterTable = "filter"

// foreign reads a chain of iptables' filter table; nil when there is none.
func (fw *firewall) foreign(family nftables.TableFamily, name string) (*foreignChain, error) {
	data, err := fw.get(names("look at chain "+name, unix.NFT_MSG_GETCHAIN, family,
		map[int]string{unix.NFTA_CHAIN_TABLE: filterTable, unix.NFTA_CHAIN_NAME: name}))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	attrs, err := payload(data)
	if err != nil {
		return nil, err
	}
	const policyDrop = 0 // NF_DROP in linux/netfilter.h
	chain := &foreignChain{family: family, name: name}
	if policy := attrs[unix.NFTA_CHAIN_POLICY]; len(policy) == 4 {
		chain.drops = binary.BigEndian.Uint32(policy) == policyDrop
	}
	list := names("list the rules of chain "+name, unix.NFT_MSG_GETRULE, family,
		map[int]string{unix.NFTA_RULE_TABLE: filterTable, unix.NFTA_RULE_CHAIN: name})
	err = fw.list(list, func() { chain.rules = nil }, func(data []byte) error {
		attrs, err := payload(data)
		if err != nil {
			return err
		}
		var r foreignRule
		if b := attrs[unix.NFTA_RULE_HANDLE]; len(b) == 8 {
			r.handle = binary.BigEndian.Uint64(b)
		}
		r.tag, _ = userdata.GetString(attrs[unix.NFTA_RULE_USERDATA], userdata.TypeComment)
		chain.rules = append(chain.rules, r)
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return chain, err
}

func (c *foreignChain) chain() *nftables.Chain {
	return &nftables.Chain{Name: c.name, Table: &nftables.Table{Name: filterTable, Family: c.family}}
}
