package container

import (
	"tripod/internal/cgroup"
	"tripod/internal/plan"
)

// Explain is the Plan that Create would spend, with nothing made: what the kernel would be asked to do. Assumed says what
// sources of mounts are that are not made yet.
func Explain(cfg Config, assumed map[string]plan.Kind) (*plan.Plan, error) {
	facts := cfg.Host.facts(cfg.Spec, cfg.Bundle)
	for path, kind := range assumed {
		if facts.Kinds[path] == plan.Missing {
			facts.Kinds[path] = kind
		}
	}
	facts.ChownStd = cfg.OwnStdio
	facts.Cgroup = cfg.Host.cgroupFacts(cgroup.Open(cfg.Host.Cgroup, cfg.CgroupPath))
	if cfg.CgroupPath != "" {
		facts.Cgroup.Tasks = len(facts.Cgroup.V1)
		facts.Cgroup.Into = facts.Cgroup.Unified != ""
	}
	return plan.Compile(cfg.Spec, plan.Input{Root: cfg.Root, Facts: facts, Bundle: cfg.Bundle, Unprivileged: cfg.Host.Unprivileged(), Gated: true})
}
