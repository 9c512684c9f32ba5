// A mini-program as the phone: sign in once, scan, ask the person, answer.

const server = 'https://login.example.com';

const post = (path, data, header) => new Promise((resolve, reject) => {
  wx.request({
    url: server + path, method: 'POST', data, header,
    success: ({ statusCode, data }) => (statusCode < 300 ? resolve(data) : reject({ statusCode, ...data })),
    fail: reject,
  });
});

const keep = (tokens) => { wx.setStorageSync('tokens', tokens); return tokens; };

async function signIn() {
  const { code } = await wx.login();
  return keep(await post('/v1/signin/wechat-mini', { credential: code }));
}

// The session goes on with new tokens; a new one is made only if it has ended.
async function renew({ refresh_token }) {
  try {
    return keep(await post('/oauth/token', { grant_type: 'refresh_token', client_id: 'phone', refresh_token },
      { 'Content-Type': 'application/x-www-form-urlencoded' }));
  } catch (problem) {
    if (problem.statusCode !== 400) throw problem;
    return signIn();
  }
}

async function ask(path, data) {
  const tokens = wx.getStorageSync('tokens') || await signIn();
  const send = ({ access_token }) => post(path, data, { Authorization: `Bearer ${access_token}` });
  try {
    return await send(tokens);
  } catch (problem) {
    if (problem.statusCode !== 401) throw problem;
    return send(await renew(tokens));
  }
}

async function approveLogin() {
  const { result: qr } = await wx.scanCode({ onlyFromCamera: true });
  const asking = await ask('/v1/scan', { qr });
  const { browser, os, city, country, verdict } = asking.facts; // what is not known is absent
  const { confirm } = await wx.showModal({
    title: `Sign in to ${asking.client.name}?`,
    content: [[browser, os, city, country].filter(Boolean).join(', '),
      verdict === 'ok' ? '' : 'Only if you opened this page yourself.'].join('\n'),
  });
  const ticket = `/v1/tickets/${asking.ticket_id}`;
  const answer = await ask(`${ticket}/${confirm ? 'confirm' : 'deny'}`, { confirm_token: asking.confirm_token });
  if (answer.check_code) {
    await wx.showModal({ title: answer.check_code, content: 'Type this on the other device.', showCancel: false });
  }
  return answer.status;
}
