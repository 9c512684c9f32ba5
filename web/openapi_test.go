package web

import (
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
)

// document is openapi.yaml, read once.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromData(openAPI)
})

func TestOpenAPIDocumentIsValid(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Error(err)
	}
	s := newSite(t, setup{})
	a := s.want(200, "", "GET", "/openapi.yaml", nil)
	if a.raw != string(openAPI) || a.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("/openapi.yaml is another document: %v", a.header)
	}
}

// Every route is in the document, and everything in it is a route. The files
// that only our own pages load are no interface.
func TestOpenAPIDocumentKnowsEveryRoute(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]bool{}
	err = chi.Walk(newSite(t, setup{direct: true}).handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if _, err := fs.Stat(assets, "assets"+route); err == nil && route != "/qr-login.js" && route != "/" {
			return nil
		}
		if method != http.MethodHead {
			routes[method+" "+route] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			written[method+" "+path] = true
		}
	}
	for _, route := range slices.Sorted(maps.Keys(routes)) {
		if !written[route] {
			t.Errorf("not in openapi.yaml: %s", route)
		}
	}
	for _, route := range slices.Sorted(maps.Keys(written)) {
		if !routes[route] {
			t.Errorf("in openapi.yaml, but no route: %s", route)
		}
	}
}

// Every code word of the error table is in the document.
func TestOpenAPIDocumentKnowsEveryCode(t *testing.T) {
	known := func(schema, member string) map[any]bool {
		doc, err := document()
		if err != nil {
			t.Fatal(err)
		}
		words := map[any]bool{}
		for _, word := range doc.Components.Schemas[schema].Value.Properties[member].Value.Enum {
			words[word] = true
		}
		return words
	}
	problems, oauth := known("Problem", "code"), known("OAuthError", "error")
	for _, row := range table {
		if !problems[row.code] && !oauth[row.code] {
			t.Errorf("not in openapi.yaml: %s", row.code)
		}
	}
}

// specified fails a test whose answer is not one that openapi.yaml lists for
// the route: its status, its media type and its shape.
func specified(t testing.TB, handler http.Handler, r *http.Request, a answer) {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	route := chi.NewRouteContext()
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	if !handler.(chi.Routes).Match(route, r.Method, path) || r.Method == http.MethodHead || a.code() == "token_in_url" || a.code() == "network_banned" {
		return // rules that hold everywhere
	}
	item := doc.Paths.Value(route.RoutePattern())
	if item == nil {
		return // a file of our pages: TestOpenAPIDocumentKnowsEveryRoute
	}
	response := item.GetOperation(r.Method).Responses.Value(strconv.Itoa(a.status))
	if response == nil {
		t.Errorf("%s %s: %d is not in openapi.yaml: %.200s", r.Method, route.RoutePattern(), a.status, a.raw)
		return
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if a.raw == "" && len(response.Value.Content) == 0 {
		return
	}
	content := response.Value.Content.Get(kind)
	if content == nil {
		t.Errorf("%s %s: %d %s is not in openapi.yaml", r.Method, route.RoutePattern(), a.status, kind)
		return
	}
	if content.Schema == nil || !strings.HasSuffix(kind, "json") {
		return
	}
	var value any
	if err := json.Unmarshal([]byte(a.raw), &value); err != nil {
		t.Errorf("%s %s: %v", r.Method, route.RoutePattern(), err)
		return
	}
	if err := content.Schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		t.Errorf("%s %s: %d is not as openapi.yaml says: %v", r.Method, route.RoutePattern(), a.status, err)
	}
}
