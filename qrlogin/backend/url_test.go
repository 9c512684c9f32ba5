package backend

import (
	"fmt"
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":                               "[h:6379] db=0 user= pw= master= cluster=false tls=false",
		"redis://h:7/3":                           "[h:7] db=3 user= pw= master= cluster=false tls=false",
		"redis://:p%40w@h:7":                      "[h:7] db=0 user= pw=p@w master= cluster=false tls=false",
		"rediss://u:p@[::1]:7/0":                  "[[::1]:7] db=0 user=u pw=p master= cluster=false tls=true",
		"redis://[::1]":                           "[[::1]:6379] db=0 user= pw= master= cluster=false tls=false",
		"unix:///run/r.sock":                      "[/run/r.sock] db=0 user= pw= master= cluster=false tls=false",
		"unix://u:p@/run/r.sock?db=2":             "[/run/r.sock] db=2 user=u pw=p master= cluster=false tls=false",
		"redis+sentinel://master@h1:1,h2:2/0":     "[h1:1 h2:2] db=0 user= pw= master=master cluster=false tls=false",
		"rediss+sentinel://u:p%3Aw:m@h1,h2:2/4":   "[h1:26379 h2:2] db=4 user=u pw=p:w master=m cluster=false tls=true",
		"redis+sentinel://:p:m@h1":                "[h1:26379] db=0 user= pw=p master=m cluster=false tls=false",
		"redis+cluster://h1:1,h2:2":               "[h1:1 h2:2] db=0 user= pw= master= cluster=true tls=false",
		"rediss+cluster://u:p@h1:1,[fe80::1]:2/0": "[h1:1 [fe80::1]:2] db=0 user=u pw=p master= cluster=true tls=true",
	} {
		o, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		got := fmt.Sprintf("%v db=%d user=%s pw=%s master=%s cluster=%t tls=%t",
			o.Addrs, o.DB, o.Username, o.Password, o.MasterName, o.IsClusterMode, o.TLSConfig != nil)
		if got != want {
			t.Errorf("%s: %s, not %s", url, got, want)
		}
		if o.TLSConfig != nil && (o.TLSConfig.ServerName != "" || o.TLSConfig.InsecureSkipVerify) {
			t.Errorf("%s: servers are not checked under their own names", url)
		}
	}
}

func TestBadURL(t *testing.T) {
	for _, url := range []string{
		"", "redis", "redis:h", "http://h", "redis+what://h", "unix+cluster:///s", "redis://",
		"redis://h:0", "redis://h:65536", "redis://h:x", "redis://h1,h2", "redis://a:b:c", "redis://::1",
		"redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h?db=1", "redis://h#1", "redis://h:1:2",
		"unix://", "unix:///", "unix://relative", "unix:///s?skip=1", "unix:///s?db=x",
		"redis+sentinel://h1:1", "redis+sentinel://@h1:1", "redis+sentinel://u:m@h1:1", "redis+sentinel://u:p:@h1:1",
		"redis+cluster://h1:1/1", "redis+cluster://h1,,h2", "redis+cluster://", "redis://us er:hunter2@h", "redis://u:hunter2%zz@h",
	} {
		err := CheckURL(url)
		if err == nil {
			t.Errorf("%q was accepted", url)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the password", url)
		}
	}
}

func TestBadRedisConfig(t *testing.T) {
	for name, c := range map[string]RedisConfig{
		"url":               {URL: "x", Secret: secret(1)},
		"no secret":         {URL: "redis://h"},
		"short secret":      {URL: "redis://h", Secret: secret(1)[1:]},
		"short last secret": {URL: "redis://h", Secret: secret(1), PreviousSecret: []byte("short")},
	} {
		if r, err := OpenRedis(c); err == nil {
			r.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
