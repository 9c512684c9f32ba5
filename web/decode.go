package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxBody  = 8 << 10
	formType = "application/x-www-form-urlencoded"
)

// mediaType is the body's media type; "" stands for no body and no type.
func mediaType(r *http.Request) (string, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return "", errMediaType
	}
	value := r.Header.Get("Content-Type")
	if value == "" {
		return "", nil
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return "", errMediaType
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return "", errMediaType
	}
	return media, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errBodyTooLarge
	case err != nil:
		return nil, errInvalidRequest
	}
	return body, nil
}

// awaitBody waits for the body, also where nobody will read it: net/http would wait for
// it before a larger answer. What is wrong with it is met again by who does read it.
func awaitBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == http.NoBody {
		return
	}
	begin, _ := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if len(begin) > maxBody {
		w.Header().Set("Connection", "close") // and the rest is not waited for
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), r.Body), r.Body}
}

// decodeJSON reads the body into v, strictly. No body and {} are the same.
func decodeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	media, err := mediaType(r)
	if err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if media != "application/json" && (media != "" || len(body) > 0) {
		return errMediaType
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	return unmarshal(body, v)
}

// unmarshal is strict JSON: one object, no duplicate or unknown members, no
// NUL or broken UTF-8 in strings.
func unmarshal(body []byte, v any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	err := json.Unmarshal(body, v, json.RejectUnknownMembers(true))
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return errUnknownMember
	case err != nil:
		return errInvalidRequest
	}
	return nil
}

// checkJSON tells broken strings apart from broken JSON.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return errInvalidString
	}
	err := walkJSON(body, false)
	if err == errInvalidJSON && walkJSON(body, true) == nil {
		return errInvalidString // only lone surrogates were wrong
	}
	return err
}

func walkJSON(body []byte, surrogates bool) error {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowInvalidUTF8(surrogates))
	if d.PeekKind() != '{' {
		return errInvalidJSON
	}
	for {
		token, err := d.ReadToken()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return errInvalidJSON
		case token.Kind() == '"' && strings.ContainsRune(token.String(), 0):
			return errInvalidString
		case d.StackDepth() == 0 && d.InputOffset() < int64(len(bytes.TrimRight(body, " \t\r\n"))):
			return errInvalidJSON // a second value
		}
	}
}

// decodeForm reads a form body as RFC 6749 section 3.2 wants it: a repeated
// parameter is an error, one without a value counts as absent.
func decodeForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	media, err := mediaType(r)
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if media != formType && (media != "" || len(body) > 0) {
		return nil, errMediaType
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errInvalidRequest
	}
	for name, values := range form {
		text := name + values[0]
		if len(values) > 1 || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, errInvalidRequest
		}
	}
	return form, nil
}

// bearer is the token in the Authorization header (RFC 6750 section 2.1).
func bearer(r *http.Request, missing *failure) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", missing
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case len(values) > 1:
		return "", errInvalidRequest
	case !strings.EqualFold(scheme, "Bearer"):
		return "", missing
	case token == "" || strings.ContainsAny(token, " \t"):
		return "", errInvalidRequest
	}
	return token, nil
}
