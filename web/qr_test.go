package web

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"image"
	"image/png"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
)

// decodeQR reads a picture with a decoder that knows nothing of our encoder.
func decodeQR(t testing.TB, raw []byte) string {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("not a PNG: %v", err)
	}
	return decodePicture(t, picture)
}

func decodePicture(t testing.TB, picture image.Image) string {
	t.Helper()
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		t.Fatal(err)
	}
	// Without the hint one clean picture in a hundred is not found.
	result, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
	if err != nil {
		t.Fatalf("not a QR code: %v", err)
	}
	return result.GetText()
}

func dataURL(t testing.TB, url string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(url, "data:image/png;base64,"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The picture in the snapshot, and as a file at every scale, shows the QR text.
func TestQRPictureShowsTheQRText(t *testing.T) {
	s := newSite(t, setup{publicURL: "https://login.example"})
	made := s.want(201, "", "POST", "/v1/tickets", nil)
	l := login{id: made.text("ticket_id"), deviceCode: made.text("device_code"), qr: made.text("verification_uri_complete")}
	small := dataURL(t, made.text("qr_image"))
	if text := decodeQR(t, small); text != l.qr {
		t.Errorf("qr_image says %s", text)
	}
	if len(small) > 500 {
		t.Errorf("qr_image is %d bytes", len(small))
	}
	config, err := png.DecodeConfig(bytes.NewReader(small))
	if err != nil || small[24] != 1 || small[25] != 0 {
		t.Fatalf("not a 1-bit greyscale PNG: %v", err)
	}
	for _, scale := range []string{"1", "2", "3", "5", "8", "16"} {
		a := s.send("GET", l.path("/qr.png?scale="+scale), nil, bearerOf(l.deviceCode)...)
		if a.status != 200 || a.header.Get("Content-Type") != "image/png" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("scale %s: %d %v", scale, a.status, a.header)
		}
		if text := decodeQR(t, []byte(a.raw)); text != l.qr {
			t.Errorf("scale %s says %s", scale, text)
		}
		big, err := png.DecodeConfig(strings.NewReader(a.raw))
		if err != nil || big.Width != config.Width*atoi(t, scale) || big.Height != big.Width {
			t.Errorf("scale %s: %d x %d, %v", scale, big.Width, big.Height, err)
		}
	}
	same, usual := s.send("GET", l.path("/qr.png?scale=8"), nil, bearerOf(l.deviceCode)...), s.send("GET", l.path("/qr.png"), nil, bearerOf(l.deviceCode)...)
	if same.raw != usual.raw {
		t.Error("without scale it is not 8")
	}
}

// The 1-bit rows have a quiet zone of four modules, white.
func TestQRPictureHasItsQuietZone(t *testing.T) {
	raw, err := qrPNG("https://login.example/s/x", 1)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	n := picture.Bounds().Dx()
	for y := range n {
		for x := range n {
			r, _, _, _ := picture.At(x, y).RGBA()
			if edge := x < 4 || y < 4 || x >= n-4 || y >= n-4; edge && r == 0 {
				t.Fatalf("dark at %d, %d of %d", x, y, n)
			}
		}
	}
	if r, _, _, _ := picture.At(4, 4).RGBA(); r != 0 {
		t.Error("the code does not begin after four modules")
	}
}

// The SVG's one path covers exactly the dark modules of the PNG.
func TestSVGIsTheSamePicture(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	a := s.send("GET", l.path("/qr.svg?scale=4"), nil, bearerOf(l.deviceCode)...)
	if a.status != 200 || a.header.Get("Content-Type") != "image/svg+xml" || strings.Contains(a.raw, "<script") {
		t.Fatalf("%d %v", a.status, a.header)
	}
	var svg struct {
		Width int `xml:"width,attr"`
		Paths []struct {
			D string `xml:"d,attr"`
		} `xml:"path"`
	}
	if err := xml.Unmarshal([]byte(a.raw), &svg); err != nil || len(svg.Paths) != 2 {
		t.Fatalf("%v: %s", err, a.raw)
	}
	n := svg.Width / 4
	picture := image.NewGray(image.Rect(0, 0, n, n))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for run := range strings.SplitSeq(strings.TrimPrefix(svg.Paths[1].D, "M"), "M") {
		at, rest, _ := strings.Cut(run, "h")
		x, y, _ := strings.Cut(at, " ")
		length, _, _ := strings.Cut(rest, "v")
		for i := range atoi(t, length) {
			picture.Pix[atoi(t, y)*picture.Stride+atoi(t, x)+i] = 0
		}
	}
	if text := decodePicture(t, picture); text != l.qr {
		t.Errorf("the SVG says %s", text)
	}
}

// T23, B47: nobody makes the server draw a picture of a size of theirs.
func TestGiantPicturesAreRefused(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	for _, scale := range []string{"0", "17", "100000", "-1", "-9999", "abc", "", "1.5", "1e1", "0x1", "08", "+8", "%208", "9223372036854775808", "１"} {
		for _, kind := range []string{"/qr.png", "/qr.svg"} {
			s.want(400, "invalid_size", "GET", l.path(kind+"?scale="+scale), nil, bearerOf(l.deviceCode)...)
		}
	}
	s.want(404, "ticket_not_found", "GET", "/v1/tickets/"+b64id+"/qr.png", nil, bearerOf(l.deviceCode)...)
	s.want(401, "invalid_device_code", "GET", l.path("/qr.png"), nil)
	s.scan(&l, s.phone("alice"))
	s.want(409, "invalid_state", "GET", l.path("/qr.png"), nil, bearerOf(l.deviceCode)...)
}
