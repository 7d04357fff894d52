package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// protobufType is Kubernetes' own.
const protobufType = "application/vnd.kubernetes.protobuf"

// maxAnswer is how long one answer may take to come, the events of a watch included.
const maxAnswer = 30 * time.Second

// request is what is asked.
type request struct {
	method, path string
	header       http.Header
	body         []byte
	until        string // for a watch: the type of the event that is the last to be read
}

// answer is what came.
type answer struct {
	code   int
	header http.Header
	body   any // as of JSON; a string where it is none; a list of events of a watch
}

// compared are the headers that clients act on.
var compared = []string{"Content-Type", "Warning", "Location", "Allow", "Retry-After", "Cache-Control", "Vary", "X-Content-Type-Options"}

// value is the answer as something to be compared.
func (a answer) value() map[string]any {
	headers := map[string]any{}
	for _, h := range compared {
		if v := a.header.Values(h); len(v) > 0 {
			headers[h] = strings.Join(v, "\n")
		}
	}
	return map[string]any{"code": float64(a.code), "header": headers, "body": a.body}
}

// ask sends a request and reads the answer.
func (s *server) ask(ctx context.Context, r *request) (answer, error) {
	ctx, stop := context.WithTimeout(ctx, maxAnswer)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, r.method, s.url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "compare")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("cannot ask %s for %s %s: %w", s.name, r.method, r.path, err)
	}
	defer resp.Body.Close()
	got := answer{code: resp.StatusCode, header: resp.Header}
	if r.until != "" && resp.StatusCode == http.StatusOK {
		got.body = events(resp, r.until)
		return got, nil
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("cannot read answer of %s to %s %s: %w", s.name, r.method, r.path, err)
	}
	got.body = read(data, resp.Header.Get("Content-Type"))
	return got, nil
}

// read makes a body comparable.
func read(data []byte, kind string) any {
	if len(data) == 0 {
		return nil
	}
	media, _, _ := mime.ParseMediaType(kind)
	switch media {
	case protobufType:
		return readProtobuf(data)
	case "application/yaml":
		var v any
		if err := yaml.Unmarshal(data, &v); err == nil {
			return v
		}
	}
	// What is JSON is compared as that, whatever it is called.
	var v any
	if err := json.Unmarshal(data, &v); err == nil {
		return v
	}
	return string(data)
}

// readProtobuf reads an object, or says why it cannot.
func readProtobuf(data []byte) any {
	obj, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return fmt.Sprintf("no protobuf of an object: %v", err)
	}
	text, err := json.Marshal(obj)
	if err != nil {
		return err.Error()
	}
	return map[string]any{"kind": kind.String(), "object": read(text, "application/json")}
}

// writeProtobuf makes protobuf of an object in YAML.
func writeProtobuf(text []byte) ([]byte, error) {
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	obj, kind, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobufType)
	if !ok {
		return nil, fmt.Errorf("cannot write protobuf of %s: no serializer", kind)
	}
	return runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, kind.GroupVersion()), obj)
}

// events reads the events of a watch until one of the type comes; what keeps it from coming is the last entry of the list.
func events(resp *http.Response, until string) []any {
	var all []any
	next := jsonEvents(resp.Body)
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == protobufType {
		next = protobufEvents(resp.Body)
	}
	for {
		e, err := next()
		if err != nil {
			return append(all, "ended before "+until)
		}
		all = append(all, e)
		if e["type"] == until || e["type"] == "ERROR" {
			return all
		}
	}
}

func jsonEvents(body io.Reader) func() (map[string]any, error) {
	d := json.NewDecoder(body)
	return func() (e map[string]any, err error) { return e, d.Decode(&e) }
}

func protobufEvents(body io.ReadCloser) func() (map[string]any, error) {
	frames := protobuf.LengthDelimitedFramer.NewFrameReader(body)
	buf := make([]byte, 4<<20)
	return func() (map[string]any, error) {
		n, err := frames.Read(buf)
		if err != nil {
			return nil, err
		}
		var e metav1.WatchEvent
		if err := e.Unmarshal(buf[:n]); err != nil {
			return nil, err
		}
		return map[string]any{"type": e.Type, "object": readProtobuf(e.Object.Raw)}, nil
	}
}
