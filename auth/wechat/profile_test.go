package wechat_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scanlogin/auth"
	"scanlogin/auth/wechat/wechattest"
)

// A profile is asked for once a day, give or take a fifth, and each has a time
// of its own.
func TestProfileIsFreshForADayWithinAFifth(t *testing.T) {
	s := newSite(t)
	lives := map[time.Duration]bool{}
	for range 8 {
		synctest.Test(t, func(t *testing.T) {
			s.fresh(t)
			renamed := ann
			s.mustWeb(ann, chrome)
			asked := s.wechat.Calls(wechattest.UserInfo)
			renamed.Name = "Other"
			began := time.Now()
			for s.mustWeb(renamed, chrome).Name != "Other" {
				time.Sleep(5 * time.Minute) // virtual
			}
			life := time.Since(began)
			lives[life] = true
			if least, most := 24*time.Hour*4/5, 24*time.Hour*6/5+5*time.Minute; life < least || life > most {
				t.Errorf("fresh for %s", life)
			}
			s.calls(wechattest.UserInfo, asked+1)
		})
	}
	if len(lives) < 3 {
		t.Errorf("all profiles end together: %v", lives)
	}
}

// A stale profile is better than none, and none is better than keeping
// somebody out; the exchange alone says who it is.
func TestStaleProfileIsServedWhenWeChatIsDown(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"down": wechattest.Page(502), "reset": wechattest.Reset, "busy": wechattest.Errcode(-1), "over quota": wechattest.Errcode(45011),
		"no permission": wechattest.Errcode(48001), "token refused": wechattest.Errcode(40001),
		"somebody else": wechattest.Body(`{"openid":"o-somebody","nickname":"Somebody else"}`),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			synctest.Test(t, func(t *testing.T) {
				s.fresh(t)
				first := s.mustWeb(ann, chrome)
				s.wechat.Break(wechattest.UserInfo, fault)
				time.Sleep(29 * 24 * time.Hour) // virtual
				if who := s.mustWeb(ann, chrome); who != first {
					t.Errorf("stale: %v, was %v", who, first)
				}
				time.Sleep(2 * 24 * time.Hour)
				if who := s.mustWeb(ann, chrome); who != (auth.Identity{Provider: "wechat", Subject: ann.UnionID, Name: "微信用户"}) {
					t.Errorf("after 30 days: %v", who)
				}
				s.wechat.Break(wechattest.AccessToken, fault)
				if who, err := s.web(ann, chrome); err == nil && name != "somebody else" {
					t.Errorf("a sign-in without an exchange: %v", who)
				}
			})
		})
	}
}

func TestProfileNeedsNoStore(t *testing.T) {
	s := newSite(t)
	s.store.goAway(true)
	if who := s.mustWeb(ann, chrome); who.Name != "小明" {
		t.Errorf("%v", who)
	}
	if who, err := s.mini(s.wechat.Code(miniApp.ID, ann)); err != nil || who.Name != "微信用户" {
		t.Errorf("%v, %v", who, err)
	}
}

// Names and pictures are whatever somebody typed and uploaded.
func TestNamesAndPicturesAreTakenAsStrangersText(t *testing.T) {
	s := newSite(t)
	for i, row := range [][4]string{
		{"Ann", "https://wx.qlogo.cn/a", "Ann", "https://wx.qlogo.cn/a"},
		{"  An\nn\t\x00 B\u202ecc\u2066 ", "http://wx.qlogo.cn/a/132?x=1", "An n Bcc", "https://wx.qlogo.cn/a/132?x=1"},
		{"👨‍👩‍👧 ok", "javascript:alert(1)", "👨‍👩‍👧 ok", ""},
		{"\u200b\u2028", "//wx.qlogo.cn/a", "微信用户", ""},
		{strings.Repeat("名", 300), "https://wx.qlogo.cn/" + strings.Repeat("a", 600), strings.Repeat("名", 64), ""},
		{"", "", "微信用户", ""},
	} {
		user := wechattest.User{Account: strings.Repeat("x", i+1), Name: row[0], Picture: row[1]}
		if who := s.mustWeb(user, chrome); who.Name != row[2] || who.Picture != row[3] {
			t.Errorf("%q, %q: %q, %q", row[0], row[1], who.Name, who.Picture)
		}
	}
}
