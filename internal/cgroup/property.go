package cgroup

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"tripod/internal/dbus"
)

// property is one of a unit's: systemd.resource-control(5), org.freedesktop.systemd1(5).
type property struct {
	name, signature string
	value           any
}

// encode makes properties the values of D-Bus type a(sv).
func encode(list []property) []any {
	out := make([]any, len(list))
	for i, p := range list {
		out[i] = []any{p.name, dbus.Variant{Signature: p.signature, Value: p.value}}
	}
	return out
}

// The versions of systemd from which on a property is known.
const (
	knowsQuotaPeriod = 242
	knowsCPUSet      = 244
	knowsIdle        = 252
)

// infinity is systemd's way to say that there is no limit.
const infinity = uint64(math.MaxUint64)

// unitProperties tells systemd of settings that it would write itself, or it would undo them at its next reload. The
// files that systemd has no property for are only written. Of two settings of one file the later one counts.
func unitProperties(settings []Setting, version int) ([]property, error) {
	last := map[string]Setting{}
	for _, s := range settings {
		last[s.File] = s
	}
	var out []property
	add := func(name, signature string, value any) { out = append(out, property{name, signature, value}) }
	for _, file := range slices.Sorted(maps.Keys(last)) {
		s := last[file]
		value := strings.TrimSpace(s.Value)
		if set := setProperty(file); set != "" {
			if bits, err := setBits(value); err != nil {
				return nil, &limitError{s.Controller, fmt.Errorf("%s: %w", s.Origin, err)}
			} else if version >= knowsCPUSet && value != "" {
				add(set, "ay", bits)
			}
			continue
		}
		name := amountProperty(file)
		switch {
		case file == "cpu.weight" && last["cpu.idle"].Value == "1" && version >= knowsIdle, name == "":
			continue
		}
		n, err := amount(value)
		if err != nil {
			return nil, &limitError{s.Controller, fmt.Errorf("%s: %w", s.Origin, err)}
		}
		if name == "TasksMax" {
			n = max(n, 1) // zero is refused
		}
		add(name, "t", n)
	}
	if last["cpu.idle"].Value == "1" && version >= knowsIdle {
		add("CPUWeight", "t", uint64(0))
	}
	quota, err := quotaProperties(last, version)
	return append(out, quota...), err
}

// amountProperty names the property that is a file of one number.
func amountProperty(file string) string {
	switch file {
	case "cpu.weight":
		return "CPUWeight"
	case "cpu.shares":
		return "CPUShares"
	case "memory.max":
		return "MemoryMax"
	case "memory.high":
		return "MemoryHigh"
	case "memory.low":
		return "MemoryLow"
	case "memory.min":
		return "MemoryMin"
	case "memory.swap.max":
		return "MemorySwapMax"
	case "memory.limit_in_bytes":
		return "MemoryLimit"
	case "blkio.weight":
		return "BlockIOWeight"
	case "pids.max":
		return "TasksMax"
	}
	return ""
}

// setProperty names the property that is a file of a set.
func setProperty(file string) string {
	switch file {
	case "cpuset.cpus":
		return "AllowedCPUs"
	case "cpuset.mems":
		return "AllowedMemoryNodes"
	}
	return ""
}

// amount reads a limit; "max" and what is negative are none.
func amount(s string) (uint64, error) {
	if s == "max" || strings.HasPrefix(s, "-") {
		return infinity, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no number", s)
	}
	if n >= unlimited { // v1's form of none
		return infinity, nil
	}
	return n, nil
}

// quotaProperties are those of CPU time: microseconds in a second, of which systemd takes whole per cents. They are
// rounded up, since children may ask for all that their parent was to have.
func quotaProperties(last map[string]Setting, version int) ([]property, error) {
	quota, period := last["cpu.cfs_quota_us"].Value, last["cpu.cfs_period_us"].Value
	if v2 := strings.Fields(last["cpu.max"].Value); len(v2) > 0 {
		quota = v2[0]
		if len(v2) > 1 {
			period = v2[1]
		}
	}
	if quota == "" && period == "" {
		return nil, nil
	}
	const usual = 100_000 // µs, the kernel's own period
	perSecond, p := infinity, uint64(usual)
	var err error
	var out []property
	if period != "" {
		if p, err = amount(period); err != nil || p == 0 || p > 1_000_000 {
			return nil, &limitError{"cpu", fmt.Errorf("cpu.period %.40q is no number of microseconds up to a second", period)}
		}
		if version >= knowsQuotaPeriod {
			out = append(out, property{"CPUQuotaPeriodUSec", "t", p})
		}
	}
	if quota != "" {
		q, err := amount(quota)
		if err != nil || q != infinity && q > math.MaxUint64/1_000_000 {
			return nil, &limitError{"cpu", fmt.Errorf("cpu.quota %.40q is no number of microseconds", quota)}
		}
		if q != infinity {
			const percent = 10_000
			perSecond = (q*1_000_000/p + percent - 1) / percent * percent
		}
	}
	if quota == "" {
		return out, nil
	}
	return append(out, property{"CPUQuotaPerSecUSec", "t", perSecond}), nil
}

// setBits writes a set such as "0-2,7" as systemd has it: the lowest number is the lowest bit of the first byte.
func setBits(s string) ([]any, error) {
	set, err := parseSet(s)
	if err != nil {
		return nil, err
	}
	bits := make([]byte, 0, 8)
	for _, n := range set {
		for len(bits) <= int(n/8) {
			bits = append(bits, 0)
		}
		bits[n/8] |= 1 << (n % 8)
	}
	out := make([]any, len(bits))
	for i, b := range bits {
		out[i] = b
	}
	return out, nil
}

// deviceProperties are the device rules as systemd has them: a list of what is allowed. It has no words for a number of
// all majors, nor for "all but"; there it allows more, and the rules proper, which are enforced as well, deny it.
func deviceProperties(rules []specs.LinuxDeviceCgroup) ([]property, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	p, err := devicePolicy(withDefaults(rules))
	if err != nil {
		return nil, &limitError{"devices", err}
	}
	clear := property{"DeviceAllow", "a(ss)", []any{}} // what is given is added to what the unit has
	if p.allow {
		return []property{clear, {"DevicePolicy", "s", "auto"}}, nil
	}
	var list []any
	for _, e := range p.exceptions {
		kind := "char"
		if e.devices.block {
			kind = "block"
		}
		node := fmt.Sprintf("/dev/%s/%d:%d", kind, e.devices.major, e.devices.minor)
		switch {
		case e.devices.major < 0:
			node = kind + "-*"
		case e.devices.minor < 0:
			node = fmt.Sprintf("%s-%d", kind, e.devices.major)
		}
		list = append(list, []any{node, e.access.String()})
	}
	return []property{clear, {"DevicePolicy", "s", "strict"}, {"DeviceAllow", "a(ss)", list}}, nil
}

// annotation is what names a property of the unit among a container's annotations.
const annotation = "org.systemd.property."

// annotated reads the properties among a container's annotations. Only those are taken that concern the scope alone:
// who may write annotations could otherwise have systemd start units or halt the host (CVE-2024-3154). A name that
// ends in Sec, as unit files have it, is in seconds.
func annotated(annotations map[string]string) ([]property, error) {
	var out []property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, annotation)
		if !ok {
			continue
		}
		seconds := false
		if short, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(short, "U") {
			name, seconds = short+"USec", true
		}
		signature := annotatable(name)
		if signature == "" {
			return nil, fmt.Errorf("cannot use annotation %.200q: this property is not one that a container may set", key)
		}
		value, err := parseVariant(signature, annotations[key], seconds)
		if err != nil {
			return nil, fmt.Errorf("cannot use annotation %.200q: %w", key, err)
		}
		out = append(out, property{name, signature, value})
	}
	return out, nil
}

// annotatable gives the D-Bus type of a property that an annotation may set, "" for others.
func annotatable(name string) string {
	switch name {
	case "DefaultDependencies", "SendSIGHUP", "SendSIGKILL":
		return "b"
	case "CollectMode", "Description", "ManagedOOMMemoryPressure", "ManagedOOMPreference", "ManagedOOMSwap", "OOMPolicy":
		return "s"
	case "After", "Before":
		return "as"
	case "KillSignal":
		return "i"
	case "RuntimeMaxUSec", "TimeoutStopUSec":
		return "t"
	}
	return ""
}

// parseVariant reads the GVariant text format, as far as the types above need it: true, 'text', uint64 7, ['a', 'b'].
func parseVariant(signature, text string, seconds bool) (any, error) {
	text = strings.TrimSpace(text)
	switch signature {
	case "b":
		if text == "true" || text == "false" {
			return text == "true", nil
		}
		return nil, fmt.Errorf("%.40q is neither true nor false", text)
	case "s":
		s, rest, err := quoted(text)
		if err == nil && rest != "" {
			err = fmt.Errorf("%.40q stands behind the text", rest)
		}
		return s, err
	case "as":
		return quotedList(text)
	case "i":
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimPrefix(text, "int32 ")), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%.40q is no number", text)
		}
		return int32(n), nil
	}
	text = strings.TrimSpace(strings.TrimPrefix(text, "uint64 "))
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && !seconds {
		return n, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && seconds && f >= 0 && f < 1e12 {
		return uint64(f * 1e6), nil
	}
	return nil, fmt.Errorf("%.40q is no length of time", text)
}

// quoted reads a text in single or double quotes, and returns what stands behind it.
func quoted(s string) (text, rest string, err error) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", "", fmt.Errorf("%.40q is no text in quotes", s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), strings.TrimSpace(s[i+1:]), nil
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		if s[i] < ' ' || s[i] == 0x7f {
			break
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Errorf("%.40q has no end of its quotes", s)
}

func quotedList(s string) (any, error) {
	rest, ok := strings.CutPrefix(s, "[")
	list := []any{}
	for rest = strings.TrimSpace(rest); ok && rest != "]"; {
		text, behind, err := quoted(rest)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
		if rest, ok = strings.CutPrefix(behind, ","); !ok {
			rest, ok = behind, behind == "]"
		}
		rest = strings.TrimSpace(rest)
	}
	if !ok {
		return nil, fmt.Errorf("%.40q is no list of texts in brackets", s)
	}
	return list, nil
}
