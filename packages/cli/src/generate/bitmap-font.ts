/**
 * Letters of 5 x 7 pixels, drawn for this project (CC0): each glyph is seven rows from the top, two hex digits a row, the
 * lowest bit at the right.
 */
const GLYPHS: Readonly<Record<string, string>> = {
	' ': '00000000000000',
	'!': '04040404040004',
	'"': '0a0a0000000000',
	'#': '0a0a1f0a1f0a0a',
	$: '040f140e051e04',
	'%': '18190204081303',
	'&': '0c1214080d120d',
	"'": '04040000000000',
	'(': '02040808080402',
	')': '08040202020408',
	'*': '00150e1f0e1500',
	'+': '0004041f040400',
	',': '00000000000408',
	'-': '0000001f000000',
	'.': '00000000000004',
	'/': '01020204080810',
	'0': '0e11131519110e',
	'1': '040c040404040e',
	'2': '0e11010204081f',
	'3': '1f02040201110e',
	'4': '02060a121f0202',
	'5': '1f101e0101110e',
	'6': '0608101e11110e',
	'7': '1f010204080808',
	'8': '0e11110e11110e',
	'9': '0e11110f01020c',
	':': '00000400000400',
	';': '00000400000408',
	'<': '02040810080402',
	'=': '00001f001f0000',
	'>': '08040201020408',
	'?': '0e110102040004',
	'@': '0e11171517100e',
	A: '0e11111f111111',
	B: '1e11111e11111e',
	C: '0e11101010110e',
	D: '1c12111111121c',
	E: '1f10101e10101f',
	F: '1f10101e101010',
	G: '0e11101711110f',
	H: '1111111f111111',
	I: '0e04040404040e',
	J: '0702020202120c',
	K: '11121418141211',
	L: '1010101010101f',
	M: '111b1515111111',
	N: '11111915131111',
	O: '0e11111111110e',
	P: '1e11111e101010',
	Q: '0e11111115120d',
	R: '1e11111e141211',
	S: '0f10100e01011e',
	T: '1f040404040404',
	U: '1111111111110e',
	V: '11111111110a04',
	W: '11111115151b11',
	X: '11110a040a1111',
	Y: '1111110a040404',
	Z: '1f01020408101f',
	'[': '0e08080808080e',
	'\\': '10080804020201',
	']': '0e02020202020e',
	'^': '040a1100000000',
	_: '0000000000001f',
	'`': '08040000000000',
	a: '00000e010f110f',
	b: '1010161911111e',
	c: '00000e1010110e',
	d: '01010d1311110f',
	e: '00000e111f100e',
	f: '0609081c080808',
	g: '00000f110f010e',
	h: '10101619111111',
	i: '04000c0404040e',
	j: '0200060202120c',
	k: '10101214181412',
	l: '0c04040404040e',
	m: '00001a15151111',
	n: '00001619111111',
	o: '00000e1111110e',
	p: '00001e111e1010',
	q: '00000f110f0101',
	r: '00001619101010',
	s: '00000e100e011e',
	t: '08081c08080906',
	u: '0000111111130d',
	v: '00001111110a04',
	w: '0000111115150a',
	x: '0000110a040a11',
	y: '000011110f010e',
	z: '00001f0204081f',
	'{': '02040408040402',
	'|': '04040404040404',
	'}': '08040402040408',
	'~': '00000815020000',
};

const WIDTH = 5;
/** Rows of a letter. */
export const FONT_HEIGHT = 7;
/** From one letter to the next. */
const ADVANCE = WIDTH + 1;

/** Pixels that a text takes at a whole magnification. */
export function textWidth(text: string, magnification: number): number {
	return Math.max(0, [...text].length * ADVANCE - 1) * magnification;
}

/** Draw a text in one colour; what is outside the picture is left out, a letter that the font has not is a `?`. */
export function drawText(
	picture: { readonly width: number; readonly height: number; readonly data: Uint8Array },
	text: string,
	left: number,
	top: number,
	magnification: number,
	colour: readonly [number, number, number],
): void {
	for (const [n, letter] of [...text].entries()) {
		const rows = GLYPHS[letter] ?? GLYPHS['?'] ?? '';
		for (let y = 0; y < FONT_HEIGHT * magnification; y++) {
			const bits = Number.parseInt(rows.slice(2 * Math.floor(y / magnification), 2 * Math.floor(y / magnification) + 2), 16);
			for (let x = 0; x < WIDTH * magnification; x++) {
				if (((bits >> (WIDTH - 1 - Math.floor(x / magnification))) & 1) === 0) continue;
				const [px, py] = [left + n * ADVANCE * magnification + x, top + y];
				if (px < 0 || py < 0 || px >= picture.width || py >= picture.height) continue;
				picture.data.set(colour, 3 * (py * picture.width + px));
			}
		}
	}
}
