package quickjson

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// kinds is a struct of what encoding/json treats in ways of its own.
type kinds struct {
	Text    string            `json:"text"`
	Small   int8              `json:"small,omitempty"`
	Count   uint64            `json:"count"`
	Yes     *bool             `json:"yes"`
	Deep    *kinds            `json:"deep"`
	List    []kinds           `json:"list"`
	Words   []string          `json:"words"`
	Bytes   []byte            `json:"bytes"`
	Fixed   [2]int            `json:"fixed"`
	Map     map[string]string `json:"map"`
	Numbers map[string]uint8  `json:"numbers"`
	ByInt   map[int]string    `json:"byInt"`
	Any     any               `json:"any"`
	Raw     json.RawMessage   `json:"raw"`
	Own     specs.LinuxWeightDevice
	Hidden  string `json:"-"`
	NoTag   string
	Time    time.Time
	TimeOf  *time.Time
	Address netip.Addr
	secret  string
}

var _ = kinds{secret: "is not for encoding/json"}

// odd is one that encoding/json reads, whatever it has.
type odd struct {
	Quoted int `json:"quoted,string"`
	specs.LinuxWeightDevice
}

// plain is one that is read without encoding/json.
type plain struct {
	Text   string            `json:"text"`
	Small  int8              `json:"small,omitempty"`
	Count  uint64            `json:"count"`
	Yes    *bool             `json:"yes"`
	Deep   *plain            `json:"deep"`
	List   []plain           `json:"list"`
	Words  []string          `json:"words"`
	Map    map[string]string `json:"map"`
	Slices map[string][]int  `json:"slices"`
	Bytes  []byte            `json:"bytes"`
	Time   time.Time
	NoTag  string
}

var texts = []string{
	`{}`, ` { "text" : "a" , "small" : -128 } `, `{"small":128}`, `{"small":-0}`, `{"small":01}`, `{"small":1.0}`, `{"small":1e1}`, `{"small":-}`,
	`{"count":18446744073709551615}`, `{"count":18446744073709551616}`, `{"count":-1}`, `{"count":+1}`, `{"count":"1"}`, `{"count":null}`,
	`{"yes":true}`, `{"yes":null}`, `{"yes":tru}`, `{"yes":trueish}`, `{"yes":1}`, `{"text":null}`, `{"text":"a` + "\n" + `"}`, `{"text":"` + "\xff" + `"}`,
	`{"text":"\u00e4\n\"\\\/\b\f\r\t"}`, `{"text":"\ud83d\ude00"}`, `{"text":"\ud83d"}`, `{"text":"\u12"}`, `{"text":"\u+123"}`, `{"text":"\x"}`, `{"text":"\`, `{"text":"ä\u00e4ö"}`,
	`{"text":"a","text":"b"}`, `{"deep":{"text":"a"},"deep":{"small":1}}`, `{"TEXT":"a"}`, `{"Text":"a"}`, `{"notag":"x"}`, `{"NoTag":"x"}`, `{"-":"x"}`, `{"Hidden":"x"}`, `{"secret":"x"}`, `{"":"x"}`,
	`{"te\u0078t":"a"}`, `{"deep":{"deep":{"deep":null}}}`, `{"deep":{"deep":[]}}`, `{"list":[]}`, `{"list":null}`, `{"list":[{"text":"a"},{}]}`, `{"list":[null]}`, `{"list":[1]}`, `{"list":{}}`, `{"list":[{},]}`, `{"list":[{}`,
	`{"words":["a","b"]}`, `{"words":["a",1]}`, `{"words":[null]}`, `{"words":[]}`, `{"words":"a"}`, `{"words":["a",]}`, `{"words":["a" "b"]}`,
	`{"map":{"a":"b","a":"c"}}`, `{"map":{"a":null}}`, `{"map":{"a":1}}`, `{"map":null}`, `{"map":[]}`, `{"slices":{"a":[1,2],"b":null}}`, `{"numbers":{"a":256}}`, `{"numbers":{"a":255}}`, `{"byInt":{"1":"a"}}`,
	`{"quoted":"1","major":1}`, `{"quoted":1}`, `{"bytes":"AAEC"}`, `{"bytes":""}`, `{"bytes":null}`, `{"bytes":"A"}`, `{"bytes":"A\nA=="}`, `{"bytes":"AA==AA=="}`, `{"bytes":[1,2]}`, `{"fixed":[1,2,3]}`, `{"any":{"a":[1]}}`, `{"raw":{"a":[1]}}`, `{"quoted":"1"}`, `{"Own":{"major":1,"minor":2,"weight":3}}`,
	`{"Time":"2026-01-02T03:04:05.6Z"}`, `{"Time":"2026"}`, `{"Time":null}`, `{"TimeOf":null}`, `{"TimeOf":"2026-01-02T03:04:05+01:00"}`, `{"Time":1}`, `{"Address":"::1"}`, `{"Address":""}`, `{"raw": [ 1, 2 ] }`, `{"raw":null}`, `{"raw":1.5}`,
	`{"unknown":{"a":[1,"b",true,false,null,{"c":-1.5}]}}`, `{"unknown":{"a":[1,"b",true,false,null,{"c":-1}]}}`, `{"unknown":nul}`, `{"unknown":[1,2}`, `{"unknown":"` + "\x01" + `"}`, `{"unknown":}`, `{"unknown":-}`,
	``, ` `, `null`, `true`, `1`, `"a"`, `[]`, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{} x`, `{}{}`, `{"text":"a"}` + "\x00", "\ufeff{}", `{text:"a"}`, `{'text':'a'}`,
}

// same has both read a text, and compares what they read, and what they say.
func same[T any](t *testing.T, text []byte) {
	t.Helper()
	var ours, theirs T
	err, want := Unmarshal(text, &ours), json.Unmarshal(text, &theirs)
	switch {
	case (err == nil) != (want == nil) || err != nil && err.Error() != want.Error():
		t.Errorf("%q into %T: %v, encoding/json: %v", text, ours, err, want)
	case !reflect.DeepEqual(ours, theirs):
		t.Errorf("%q into %T: %+v, encoding/json: %+v", text, ours, ours, theirs)
	}
}

func all(t *testing.T, text []byte) {
	t.Helper()
	same[plain](t, text)
	same[kinds](t, text)
	same[odd](t, text)
	same[specs.Spec](t, text)
	same[map[string]string](t, text)
	same[[]plain](t, text)
	same[*plain](t, text)
	same[string](t, text)
	same[int](t, text)
	same[any](t, text)
}

func TestAsEncodingJSON(t *testing.T) {
	for _, text := range texts {
		all(t, []byte(text))
	}
	if err := Unmarshal([]byte("{}"), nil); err == nil {
		t.Error("it read into nothing")
	}
}

// specTexts are the specs that the tests of plans use.
func specTexts(t testing.TB) (list [][]byte) {
	files, err := filepath.Glob("../plan/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no specs: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// TestSpecsAreReadHere would fail if a spec that is as usual were left to encoding/json: every text of it cut short is too,
// so those are told from the whole one by their error alone.
func TestSpecsAreReadHere(t *testing.T) {
	for _, text := range specTexts(t) {
		var spec specs.Spec
		r := reader{text: string(text), known: map[reflect.Type]shape{}}
		if !r.value(reflect.ValueOf(&spec).Elem()) {
			t.Errorf("left to encoding/json at %.60q", text[r.at:])
		}
		same[specs.Spec](t, text)
		for n := 0; n < len(text); n += 1 + len(text)/500 {
			same[specs.Spec](t, text[:n])
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	for _, text := range specTexts(f) {
		f.Add(text)
	}
	f.Fuzz(all)
}
