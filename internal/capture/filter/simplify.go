package filter

import (
	"encoding/binary"
	"math"
	"slices"
)

// maxStates bounds how many pairs of a node and what is known there are looked at. Beyond it nodes stay as they are.
const maxStates = 400_000

// answer is a test and what came of it.
type answer struct {
	test *known
	yes  bool
}

// known is one of the tests of a filter.
type known struct {
	test
	id    int
	first int // the least id of a node that asks it: no node with that id or a lesser one has it below
	// of its left value: the least id of a node that asks anything of it
	value *int
}

// simplifier makes a graph anew in which no path asks what it has found out already.
type simplifier struct {
	graph  *graph
	tests  map[test]*known
	states map[string]*node
	left   int // states
}

func simplify(g *graph, root *node) *node {
	s := &simplifier{graph: g, tests: map[test]*known{}, states: map[string]*node{}, left: maxStates}
	all := make([]*node, len(g.nodes))
	for _, n := range g.nodes {
		all[n.id] = n
	}
	values := map[*value]*int{}
	for _, n := range all { // in the order of their ids
		if n.yes == nil || s.tests[n.test] != nil {
			continue
		}
		if values[n.left] == nil {
			id := n.id
			values[n.left] = &id
		}
		s.tests[n.test] = &known{test: n.test, id: len(s.tests), first: n.id, value: values[n.left]}
	}
	return s.node(root, nil)
}

// node is n for packets that have given these answers, which are sorted by their tests' ids.
func (s *simplifier) node(n *node, answers []answer) *node {
	for n.yes != nil {
		yes, ok := settled(n.test, answers)
		if !ok {
			break
		}
		if yes {
			n = n.yes
		} else {
			n = n.no
		}
	}
	if n.yes == nil || s.left == 0 {
		return n
	}
	s.left--
	answers = relevant(n, answers)
	key := stateKey(n, answers)
	if have, ok := s.states[key]; ok {
		return have
	}
	t := s.tests[n.test]
	made := s.graph.test(n.test, s.node(n.yes, with(answers, answer{t, true})), s.node(n.no, with(answers, answer{t, false})))
	s.states[key] = made
	return made
}

func stateKey(n *node, answers []answer) string {
	key := binary.AppendUvarint(nil, uint64(n.id))
	for _, a := range answers {
		v := uint64(a.test.id) << 1
		if a.yes {
			v |= 1
		}
		key = binary.AppendUvarint(key, v)
	}
	return string(key)
}

// with adds an answer. A value that is known needs no other answers.
func with(answers []answer, a answer) []answer {
	grown := make([]answer, 0, len(answers)+1)
	sure := a.yes && a.test.op == equal && a.test.right == nil
	placed := false
	for _, old := range answers {
		if sure && old.test.left == a.test.left {
			continue
		}
		if !placed && old.test.id > a.test.id {
			grown, placed = append(grown, a), true
		}
		grown = append(grown, old)
	}
	if !placed {
		grown = append(grown, a)
	}
	return grown
}

// relevant leaves the answers that something at or below n may ask for.
func relevant(n *node, answers []answer) []answer {
	asked := func(a answer) bool {
		if a.test.op == equal && !a.yes || a.test.op == anyBit || a.test.right != nil {
			return a.test.first <= n.id
		}
		return *a.test.value <= n.id
	}
	if !slices.ContainsFunc(answers, func(a answer) bool { return !asked(a) }) {
		return answers
	}
	var kept []answer
	for _, a := range answers {
		if asked(a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// settled says what a test gives, if the answers tell.
func settled(t test, answers []answer) (yes, ok bool) {
	low, high := uint32(0), uint32(math.MaxUint32)
	for _, a := range answers {
		if a.test.test == t {
			return a.yes, true
		}
		if a.test.left != t.left || a.test.right != nil || t.right != nil {
			continue
		}
		switch k := a.test.k; {
		case a.test.op == equal && a.yes:
			return holds(t.op, k, t.k), true
		case a.test.op == greater && a.yes && k < math.MaxUint32:
			low = max(low, k+1)
		case a.test.op == greater && !a.yes:
			high = min(high, k)
		case a.test.op == atLeast && a.yes:
			low = max(low, k)
		case a.test.op == atLeast && !a.yes && k > 0:
			high = min(high, k-1)
		}
	}
	if t.right != nil || t.op == anyBit {
		return false, false
	}
	switch first, last := holds(t.op, low, t.k), holds(t.op, high, t.k); {
	case t.op == equal:
		return false, t.k < low || t.k > high
	case first == last && low <= high && (low > 0 || high < math.MaxUint32):
		return first, true
	}
	return false, false
}
