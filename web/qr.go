package web

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"sync"

	qrcode "github.com/skip2/go-qrcode"
)

// bitmap is the QR matrix of a text at level M, quiet zone of 4 included. The
// library panics on inner faults; those are errors here.
func bitmap(text string) (rows [][]bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("web: QR encoder: %v", v)
		}
	}()
	code, err := qrcode.New(text, qrcode.Medium)
	if err != nil {
		return nil, fmt.Errorf("web: QR encoder: %w", err)
	}
	return code.Bitmap(), nil
}

// TerminalQR draws a text as a QR code for a dark or light terminal.
func TerminalQR(text string) (string, error) {
	code, err := qrcode.New(text, qrcode.Low)
	if err != nil {
		return "", fmt.Errorf("web: QR encoder: %w", err)
	}
	return code.ToSmallString(false), nil
}

// qrPNG draws a text as a 1-bit PNG (RFC 2083), scale pixels per module. The
// library's own PNG takes four times as long and stretches modules unevenly.
func qrPNG(text string, scale int) ([]byte, error) {
	rows, err := bitmap(text)
	if err != nil {
		return nil, err
	}
	return encodePNG(rows, scale), nil
}

func encodePNG(rows [][]bool, scale int) []byte {
	size := len(rows) * scale
	stride := 1 + (size+7)/8 // filter byte, then 8 pixels a byte
	raw := make([]byte, 0, size*stride)
	for _, row := range rows {
		line := make([]byte, stride)
		for x, dark := range row {
			if dark {
				continue
			}
			for at := x * scale; at < (x+1)*scale; at++ { // 1 is white
				line[1+at/8] |= 0x80 >> (at % 8)
			}
		}
		for range scale {
			raw = append(raw, line...)
		}
	}
	out := make([]byte, 0, len(raw)+128)
	out = append(out, "\x89PNG\r\n\x1a\n"...)
	header := binary.BigEndian.AppendUint32(nil, uint32(size))
	header = binary.BigEndian.AppendUint32(header, uint32(size))
	out = appendChunk(out, "IHDR", append(header, 1, 0, 0, 0, 0)) // 1 bit, greyscale
	out = appendChunk(out, "IDAT", deflate(raw, scale))
	return appendChunk(out, "IEND", nil)
}

// deflate stores one-pixel modules as they are, which compression would only
// slow down; larger ones repeat and shrink well.
func deflate(raw []byte, scale int) []byte {
	if scale == 1 && len(raw) <= 0xffff {
		out := []byte{0x78, 0x01, 1} // zlib header, final stored block
		out = binary.LittleEndian.AppendUint16(out, uint16(len(raw)))
		out = binary.LittleEndian.AppendUint16(out, ^uint16(len(raw)))
		out = append(out, raw...)
		return binary.BigEndian.AppendUint32(out, adler32.Checksum(raw))
	}
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(raw) // a bytes.Buffer takes all
	z.Close()
	return b.Bytes()
}

func appendChunk(out []byte, kind string, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	start := len(out)
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
}

// qrSVG draws a text as an SVG of scale units per module: one path, a run of
// dark modules a stroke.
func qrSVG(text string, scale int) ([]byte, error) {
	rows, err := bitmap(text)
	if err != nil {
		return nil, err
	}
	n := len(rows)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path d="`, n*scale, n*scale, n, n, n, n)
	for y, row := range rows {
		for x := 0; x < n; x++ {
			if !row[x] {
				continue
			}
			run := 1
			for x+run < n && row[x+run] {
				run++
			}
			fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x, y, run, run)
			x += run
		}
	}
	b.WriteString(`"/></svg>`)
	return b.Bytes(), nil
}

// qrCache draws each face of a QR once per instance: a browser's answer to
// create, its first snapshot and the later ones show the same picture. Who
// comes while it is drawn waits for it. Two generations bound the cache: when
// the younger is full the older is forgotten.
type qrCache struct {
	mu         sync.Mutex
	young, old map[string]*face
}

// face is a picture as a data URL; the first who asks draws it.
type face struct {
	once sync.Once
	url  string
	err  error
}

// qrGeneration is how many faces a generation has. At 500 tickets a second a face is
// known for two to four seconds, long enough from create to the first snapshot.
const qrGeneration = 1024

// errUndrawn stays where drawing has panicked: the first who asked met the panic, and
// those after must not take the empty picture for the answer.
var errUndrawn = errors.New("web: the QR picture was not drawn")

func (c *qrCache) dataURL(text string) (string, error) {
	f := c.face(text)
	f.once.Do(func() {
		var png []byte
		f.err = errUndrawn
		png, f.err = qrPNG(text, 1)
		f.url = "data:image/png;base64," + base64.StdEncoding.EncodeToString(png)
	})
	return f.url, f.err
}

func (c *qrCache) face(text string) *face {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.young[text]; known != nil {
		return known
	}
	if known := c.old[text]; known != nil {
		return known
	}
	if len(c.young) >= qrGeneration || c.young == nil {
		c.young, c.old = make(map[string]*face), c.young
	}
	made := &face{}
	c.young[text] = made
	return made
}
