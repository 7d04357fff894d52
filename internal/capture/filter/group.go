package filter

// grouper makes a graph anew in which the tests of a chain stand together when they ask about the same value: "src port 80
// or dst port 80 or src port 443" loads each port once. A chain is a run of tests that all go to the same node on one
// answer, and to the next test on the other; nothing else leads into its middle.
type grouper struct {
	graph *graph
	ways  map[*node]int // that lead to a node
	done  map[*node]*node
}

func group(g *graph, root *node) *node {
	r := &grouper{graph: g, ways: map[*node]int{}, done: map[*node]*node{}}
	r.count(root)
	return r.node(root)
}

func (r *grouper) count(n *node) {
	r.ways[n]++
	if r.ways[n] == 1 && n.yes != nil {
		r.count(n.yes)
		r.count(n.no)
	}
}

func (r *grouper) node(n *node) *node {
	if n.yes == nil {
		return n
	}
	if have, ok := r.done[n]; ok {
		return have
	}
	var made *node
	if ors := r.chain(n, true); len(ors) > 2 {
		yes, rest := r.node(n.yes), r.node(ors[len(ors)-1].no)
		for _, m := range backwards(ors) {
			rest = r.graph.test(m.test, yes, rest)
		}
		made = rest
	} else if ands := r.chain(n, false); len(ands) > 2 {
		no, rest := r.node(n.no), r.node(ands[len(ands)-1].yes)
		for _, m := range backwards(ands) {
			rest = r.graph.test(m.test, rest, no)
		}
		made = rest
	} else {
		made = r.graph.test(n.test, r.node(n.yes), r.node(n.no))
	}
	r.done[n] = made
	return made
}

// chain is the chain that begins with a node: one of or, or one of and.
func (r *grouper) chain(n *node, or bool) []*node {
	chain := []*node{n}
	for {
		next, same := n.no, n.yes
		if !or {
			next, same = n.yes, n.no
		}
		if next.yes == nil || r.ways[next] > 1 || or && next.yes != same || !or && next.no != same {
			return chain
		}
		chain = append(chain, next)
		n = next
	}
}

// backwards is a chain from its end, its tests grouped by value in the order of their first appearance.
func backwards(chain []*node) []*node {
	place := map[*value]int{}
	var groups [][]*node
	for _, n := range chain {
		i, ok := place[n.left]
		if !ok {
			i = len(groups)
			place[n.left] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], n)
	}
	order := make([]*node, 0, len(chain))
	for i := len(groups) - 1; i >= 0; i-- {
		for j := len(groups[i]) - 1; j >= 0; j-- {
			order = append(order, groups[i][j])
		}
	}
	return order
}
