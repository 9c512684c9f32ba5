package web

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var external = regexp.MustCompile(`(?i)(href|src|action|content)="(https?:)?//|url\(|@import|<script>|<style| on[a-z]+="| style="|javascript:`)

// Both languages, by the browser's wish or by choice; nothing from elsewhere,
// nothing inline (T11, T48).
func TestPagesSpeakBothLanguagesAndLoadNothingForeign(t *testing.T) {
	s := newSite(t, setup{})
	l := s.create(nil)
	for _, row := range []struct{ accept, query, lang, first string }{
		{"", "", "en", "Sign in"},
		{"de, fr;q=0.5", "", "en", "Sign in"},
		{"zh-CN,zh;q=0.9", "", "zh-CN", "登录"},
		{"zh", "", "zh-CN", "登录"},
		{"en;q=0.1, zh-Hans-SG", "", "zh-CN", "登录"},
		{"en-GB, zh;q=0.5", "", "en", "Sign in"},
		{"zh-CN", "?lang=en", "en", "Sign in"},
		{"en", "?lang=zh-CN", "zh-CN", "登录"},
		{"en", "?lang=%22%3E%3Cscript%3E", "en", "Sign in"},
		{strings.Repeat("zh-CN,", 500), "", "zh-CN", "登录"},
		{"\xff\xfe;;q=,", "", "en", "Sign in"},
	} {
		v := newPerson(s)
		v.lang = row.accept
		for _, a := range []answer{v.open("/s" + row.query), v.open(l.qr)} { // the choice stays
			if heading(a) != row.first || !strings.Contains(a.raw, `<html lang="`+row.lang+`"`) {
				t.Errorf("Accept-Language %.20q%s: %q", row.accept, row.query, heading(a))
			}
			if bad := external.FindString(a.raw); bad != "" {
				t.Errorf("the page holds %q", bad)
			}
		}
	}
	for _, lang := range languages {
		v := newPerson(s)
		v.lang = lang
		l := s.create(map[string]any{"user_code": true})
		signin := v.open(l.qr)
		open := v.submit(signin, "/s/signin", "credential", "alice")
		decide := v.submit(open, "/s/scan")
		result := v.submit(decide, "/s/decide", "decision", "approve")
		for _, a := range []answer{v.open("/"), signin, open, decide, result, v.open("/s"), v.open("/s/x")} {
			if bad := external.FindString(a.raw); bad != "" || !strings.Contains(a.raw, `<html lang="`+lang+`"`) {
				t.Errorf("%s: %q holds %q", lang, heading(a), bad)
			}
			if key := regexp.MustCompile(`>(index|account|ago|signed_out|signin|open|code|decide|check|result|message|footer)\.[a-z_.]+<`).FindString(a.raw); key != "" {
				t.Errorf("%s: no words for %s", lang, key)
			}
		}
	}
}

// The languages have the same words.
func TestLanguagesHaveTheSameWords(t *testing.T) {
	words := loadPages().words
	for _, lang := range languages {
		for key := range words[languages[0]] {
			if words[lang][key] == "" {
				t.Errorf("%s has no words for %s", lang, key)
			}
			if strings.Count(words[lang][key], "%") != strings.Count(words[languages[0]][key], "%") {
				t.Errorf("%s: other arguments in %s", lang, key)
			}
		}
		if len(words[lang]) != len(words[languages[0]]) {
			t.Errorf("%s has %d words, %s %d", lang, len(words[lang]), languages[0], len(words[languages[0]]))
		}
	}
}

// The demo relying page: kept signed in by its own cookie until signed out.
func TestDemoPageIsKeptSignedIn(t *testing.T) {
	s := newSite(t, setup{})
	v := newPerson(s)
	phone := s.phone("alice")
	tokens := s.signedIn(phone)
	keep := func(token string) answer {
		return s.sendWith(v.http, s.request("POST", "/session", map[string]string{"access_token": token}, "Sec-Fetch-Site", "same-origin"))
	}
	for _, wrong := range []string{"x", phone, tokens.text("refresh_token")} {
		if a := keep(wrong); a.status != 401 || a.code() != "invalid_token" || strings.Contains(a.header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%.10s: %d %s %v", wrong, a.status, a.code(), a.header)
		}
	}
	if a := keep(tokens.text("access_token")); a.status != 204 || !strings.Contains(a.header.Get("Set-Cookie"), "HttpOnly") {
		t.Fatalf("%d %v", a.status, a.header)
	}
	page := v.open("/")
	if !strings.Contains(page.raw, `<span id="account-name">Alice</span>`) {
		t.Errorf("signed in: %s", page.raw)
	}
	if a := v.send("/signout", nil); a.status != 403 {
		t.Errorf("signed out by a form that is not ours: %d", a.status)
	}
	if a := v.submit(page, "/signout"); a.status != 200 || strings.Contains(a.raw, "Alice") {
		t.Errorf("signed out: %d %s", a.status, a.raw)
	}
	s.want(401, "invalid_token", "GET", "/oauth/userinfo", nil, bearerOf(tokens.text("access_token"))...)
}

// A module that is missing in the list is fetched later, one round trip each.
func TestEveryModuleOfTheComponentIsPreloaded(t *testing.T) {
	files := []string{"/qr-login.js"}
	entries, err := assets.ReadDir("assets/qr-login")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		files = append(files, "/qr-login/"+entry.Name())
	}
	if !slices.Equal(modules, files) {
		t.Errorf("preloaded %v, there are %v", modules, files)
	}
}
