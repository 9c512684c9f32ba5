// Line icons on a grid of 24, stroke 1.5.

const PATHS = {
  phone: 'M9 2.75h6a2 2 0 0 1 2 2v14.5a2 2 0 0 1-2 2H9a2 2 0 0 1-2-2V4.75a2 2 0 0 1 2-2zM10.75 18.25h2.5',
  check: 'M12 3.25a8.75 8.75 0 1 0 0 17.5 8.75 8.75 0 0 0 0-17.5zM8 12.25l2.75 2.75L16 9.5',
  cross: 'M12 3.25a8.75 8.75 0 1 0 0 17.5 8.75 8.75 0 0 0 0-17.5zM9.25 9.25l5.5 5.5M14.75 9.25l-5.5 5.5',
  person: 'M12 11.75a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.75 20.25a7.25 7.25 0 0 1 14.5 0',
  moon: 'M20 14.25A8.25 8.25 0 1 1 9.75 4 6.5 6.5 0 0 0 20 14.25z',
  offline: 'M4 4l16 16M4.75 11.5a11 11 0 0 1 4-2.4M19.25 11.5a11 11 0 0 0-6-3M8 15.25a6 6 0 0 1 6.5-1.25M12 19.25h.01',
  clock: 'M12 3.25a8.75 8.75 0 1 0 0 17.5 8.75 8.75 0 0 0 0-17.5zM12 7.5V12l3 1.75',
  alert: 'M12 3.25a8.75 8.75 0 1 0 0 17.5 8.75 8.75 0 0 0 0-17.5zM12 7.75v5M12 16.25h.01',
  turning: 'M12 3.25a8.75 8.75 0 1 1-8.75 8.75',
};

const SVG = 'http://www.w3.org/2000/svg';

export function icon() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS(SVG, 'path'));
  return svg;
}

export function setIcon(svg, name) {
  svg.dataset.icon = name;
  svg.firstChild.setAttribute('d', PATHS[name]);
}
