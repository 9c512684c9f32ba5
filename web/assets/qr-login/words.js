// Every word the component says, by language. %s is filled by say().

const en = {
  loading: 'Getting a code…',
  pending: 'Scan with your phone to sign in',
  anyCamera: 'Any camera works',
  renewed: 'New code',
  qrLabel: 'QR code for signing in',
  cannotScan: 'Can’t scan? Type a code',
  typed: 'Type this code on your phone',
  typedWhere: 'Open this page on your phone',
  scanInstead: 'Scan a QR code instead',
  scanned: 'Scanned by %s. Confirm on your phone',
  notYou: 'Not you? Cancel',
  check: 'Type the two digits your phone shows',
  digit: 'Digit %s of 2',
  tries: 'Tries left: %s',
  checkAgain: 'Those digits did not match. Tries left: %s',
  cancel: 'Cancel',
  confirmed: 'Signing you in…',
  question: 'Continue as %s?',
  go: 'Continue',
  consumed: 'Signed in',
  denied: 'Declined on the phone',
  denied_check_failed: 'The digits did not match',
  denied_blocked: 'Stopped to protect the account',
  newCodeHelps: 'A new code will help',
  again: 'Try again',
  paused: 'This code is asleep',
  wake: 'Show a new code',
  offline: 'No connection. Trying again in %s s',
  offlineStill: 'No connection',
  network: 'Check the network, then try again',
  now: 'Try now',
  limited: 'Too many tries from this network; again\u00a0in\u00a0%s\u00a0s',
  busy: 'The service is busy. Again in %s s',
  failed: 'The login could not be finished',
};

const zh = {
  loading: '正在获取二维码…',
  pending: '用手机扫码登录',
  anyCamera: '任意相机均可扫描',
  renewed: '已更新二维码',
  qrLabel: '登录二维码',
  cannotScan: '无法扫码？输入代码',
  typed: '在手机上输入此代码',
  typedWhere: '用手机打开此页面',
  scanInstead: '改为扫码',
  scanned: '%s 已扫码，请在手机上确认',
  notYou: '不是您？取消',
  check: '输入手机上显示的两位数字',
  digit: '第 %s 位，共 2 位',
  tries: '剩余次数：%s',
  checkAgain: '数字不一致，剩余次数：%s',
  cancel: '取消',
  confirmed: '正在登录…',
  question: '以 %s 的身份继续？',
  go: '继续',
  consumed: '已登录',
  denied: '已在手机上拒绝',
  denied_check_failed: '数字不一致',
  denied_blocked: '为保护账号，已阻止此次登录',
  newCodeHelps: '请使用新的二维码',
  again: '重试',
  paused: '二维码已休眠',
  wake: '显示新二维码',
  offline: '网络已断开，%s 秒后重试',
  offlineStill: '网络已断开',
  network: '请检查网络后重试',
  now: '立即重试',
  limited: '当前网络请求过多，%s 秒后重试',
  busy: '服务繁忙，%s 秒后重试',
  failed: '未能完成登录',
};

/** Picks the words for a BCP 47 tag; anything that is not Chinese gets English. */
export function wordsFor(tag) {
  return /^zh\b/i.test(tag) ? zh : en;
}

export function say(sentence, value) {
  return sentence.replace('%s', () => String(value));
}
