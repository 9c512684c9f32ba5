package web

import (
	"net/http"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"scanlogin/qrlogin"
)

// decidePage asks the question. All that it says of the browser is in found;
// here is the address that shows it, or leads to it, again.
func (s *Server) decidePage(w http.ResponseWriter, r *http.Request, v *visitor, here string, found qrlogin.Found) error {
	p := s.newPage(r, v, "decide.title", here)
	age := p.T("decide.just_now")
	if found.Age >= time.Minute {
		age = p.T("decide.minutes_ago", int(found.Age.Minutes()))
	} else if found.Age >= time.Second {
		age = p.T("decide.seconds_ago", int(found.Age.Seconds()))
	}
	return s.render(w, http.StatusOK, "decide", decidePage{
		page: p, TicketID: found.TicketID, ConfirmToken: found.ConfirmToken, Account: v.who.Name,
		ClientName: found.Client.Name, Browser: found.Facts.Browser, OS: found.Facts.OS, Age: age,
		Where: p.where(found), Verdict: string(found.Signals.Verdict()), Concerns: concerns(found.Signals),
		UserCode: found.UserCode, Wrong: found.UserCode && found.Tried, TriesLeft: found.TriesLeft,
	})
}

// where is all that is known of the browser's place, the most telling first.
func (p page) where(found qrlogin.Found) (lines []string) {
	f := found.Facts
	switch country := p.country(f.Country); {
	case f.City != "" && country != "":
		lines = append(lines, p.T("decide.place", f.City, country))
	case country != "":
		lines = append(lines, country)
	}
	if f.IP != "" {
		lines = append(lines, p.T("decide.network", f.IP))
	}
	if found.Signals.Compared {
		word := "decide.other_network"
		if found.Signals.SameNetwork {
			word = "decide.same_network"
		}
		lines = append(lines, p.T(word))
	}
	return lines
}

// country is the name of an ISO 3166-1 country in the page's language.
func (p page) country(code string) string {
	region, err := language.ParseRegion(code)
	if err != nil {
		return code
	}
	return display.Regions(language.Make(p.Lang)).Name(region)
}

// concerns are what the page says of the signals, the weightiest first: the keys
// of decide.concern.*. Whoever may not approve needs one reason only.
func concerns(seen qrlogin.Signals) (words []string) {
	switch seen.Verdict() {
	case qrlogin.OK:
		return nil
	case qrlogin.Block:
		return []string{"banned"}
	}
	for _, one := range []struct {
		word string
		said bool
	}{
		{"high_usage", seen.HighUsage}, {"other_country", seen.OtherCountry}, {"first_time", seen.FirstTime},
		{"unknown", !seen.FirstTime && !seen.KnownNetwork}, {"typed", seen.Typed},
	} {
		if one.said {
			words = append(words, one.word)
		}
	}
	return words
}
