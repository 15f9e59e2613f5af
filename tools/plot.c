#include <math.h>
#include <string.h>

#include "curves.h"

enum { WIDTH = 960, HEIGHT = 540, LEFT = 84, RIGHT = 28, TOP = 58, BOTTOM = 64, LINE_HEIGHT = 20 };
enum { N_COLOUR = 8 };

/* Plain classes: not every viewer knows variables of CSS. One that does not ask for dark colours,
 * or does not know how, shows the light ones. */
typedef struct palette {
    const char *paper, *ink, *soft, *grid, *cliff;
    const char *curves[N_COLOUR];
} palette;

static const palette light = {
    "#ffffff",
    "#222222",
    "#777777",
    "#e4e4e4",
    "#d1242f",
    {"#1f6feb", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#0a7d8c", "#57606a"}};
static const palette dark = {
    "#0d1117",
    "#e6edf3",
    "#9198a1",
    "#2a313c",
    "#ff7b72",
    {"#58a6ff", "#f0883e", "#56d364", "#bc8cff", "#f778ba", "#e3b341", "#39c5cf", "#8b949e"}};

static void print_palette(FILE *to, const palette *p) {
    fprintf(to, ".paper{fill:%s}.ink{fill:%s}.soft{fill:%s}.grid{stroke:%s}.cliff{stroke:%s}\n",
            p->paper, p->ink, p->soft, p->grid, p->cliff);
    for (int i = 0; i < N_COLOUR; i++)
        fprintf(to, ".line%d{stroke:%s}.dot%d{fill:%s}%s", i, p->curves[i], i, p->curves[i],
                i % 4 == 3 ? "\n" : "");
}

static void print_style(FILE *to) {
    fputs("<style>\n"
          "text{font-family:system-ui,sans-serif;font-size:14px}text.soft{font-size:12px}"
          "text.title{font-size:17px;font-weight:600}\n"
          ".cliff{fill:none;stroke-width:2.5}.curve{fill:none;stroke-width:2;"
          "stroke-linejoin:round}\n",
          to);
    print_palette(to, &light);
    fputs("@media (prefers-color-scheme:dark){\n", to);
    print_palette(to, &dark);
    fputs("}\n</style>\n", to);
}

/* From numbers to places. */
typedef struct frame {
    FILE *to;
    const pm__curves *curves;
    double x_least, x_most, y_most;
    bool logarithmic;
    int bottom; /* of the axes, above what is said of the series */
} frame;

static double place_x(const frame *f, double x) {
    const double from = f->logarithmic ? log2(f->x_least) : f->x_least;
    const double to = f->logarithmic ? log2(f->x_most) : f->x_most;
    const double at = f->logarithmic ? log2(x) : x;
    const double part = to > from ? (at - from) / (to - from) : 0.5;
    return LEFT + part * (WIDTH - LEFT - RIGHT);
}

static double place_y(const frame *f, double y) {
    return f->bottom - y / f->y_most * (f->bottom - TOP);
}

/* Text of a file or a driver: UTF-8 that XML takes. */
static void print_text(FILE *to, const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        const size_t n = pm__printable(text, left);
        if (n == 0)
            fputc('?', to);
        else if (*text == '<' || *text == '&' || *text == '>')
            fprintf(to, "&#%d;", *text);
        else
            fwrite(text, 1, n, to);
        text += n ? n : 1;
        left -= n ? n : 1;
    }
}

/* 1, 2 or 5 times a power of ten, about a `parts`th of most. */
static double round_step(double most, int parts) {
    const double raw = most / parts, power = pow(10, floor(log10(raw)));
    const double digit = raw / power;
    return power * (digit > 5 ? 10 : digit > 2 ? 5 : digit > 1 ? 2 : 1);
}

static void draw_tick_x(const frame *f, double x) {
    const double at = place_x(f, x);
    fprintf(f->to,
            "<line class='grid' x1='%.1f' y1='%d' x2='%.1f' y2='%d'/><text class='soft' x='%.1f' "
            "y='%d' text-anchor='middle'>%.6g</text>\n",
            at, TOP, at, f->bottom, at, f->bottom + 18, x);
}

static void draw_axes(const frame *f) {
    static const char *const names[] = {"", "answers at once", "tokens in the context",
                                        "prompt tokens of a step"};
    const double step = round_step(f->y_most, 6);
    for (double y = 0; y <= f->y_most * 1.0001; y += step)
        fprintf(f->to,
                "<line class='grid' x1='%d' y1='%.1f' x2='%d' y2='%.1f'/><text class='soft' "
                "x='%d' y='%.1f' text-anchor='end'>%.6g</text>\n",
                LEFT, place_y(f, y), WIDTH - RIGHT, place_y(f, y), LEFT - 8, place_y(f, y) + 4, y);
    if (f->logarithmic) {
        for (double x = exp2(ceil(log2(f->x_least))); x <= f->x_most; x *= 2)
            draw_tick_x(f, x);
    } else {
        const double x_step = round_step(f->x_most > f->x_least ? f->x_most - f->x_least : 1, 8);
        for (double x = ceil(f->x_least / x_step) * x_step; x <= f->x_most; x += x_step)
            draw_tick_x(f, x);
    }
    fprintf(f->to, "<text class='ink' x='%d' y='%d' text-anchor='middle'>%s</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, f->bottom + 40, names[f->curves->kind]);
    fprintf(
        f->to,
        "<text class='ink' transform='translate(22 %d) rotate(-90)' text-anchor='middle'>tokens a "
        "second</text>\n",
        (TOP + f->bottom) / 2);
}

static void draw_series(const frame *f, uint32_t series) {
    const pm__curves *c = f->curves;
    const unsigned colour = series % N_COLOUR;
    fprintf(f->to, "<polyline class='curve line%u' points='", colour);
    for (size_t i = 0; i < c->n; i++)
        if (c->points[i].series == series)
            fprintf(f->to, "%.1f,%.1f ", place_x(f, c->points[i].x), place_y(f, c->points[i].best));
    fputs("'/>\n", f->to);
    for (size_t i = 0; i < c->n; i++) {
        const pm__point *p = &c->points[i];
        const double x = place_x(f, p->x), y = place_y(f, p->best);
        if (p->series != series)
            continue;
        fprintf(f->to, "<line class='line%u' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>", colour, x,
                place_y(f, p->worst), x, y);
        fprintf(f->to, "<circle class='dot%u' cx='%.1f' cy='%.1f' r='3.5'>", colour, x, y);
        fprintf(f->to, "<title>%.6g: %.2f t/s, slowest %.2f%s%s</title></circle>\n", p->x, p->best,
                p->worst, p->cliff[0] ? "; " : "", p->cliff);
        if (p->cliff[0])
            fprintf(f->to, "<circle class='cliff' cx='%.1f' cy='%.1f' r='9'/>\n", x, y);
    }
}

static void draw_legend(const frame *f) {
    for (uint32_t i = 0; i < f->curves->n_series; i++) {
        const int y = f->bottom + BOTTOM + (int)i * LINE_HEIGHT;
        fprintf(f->to,
                "<rect class='dot%u' x='%d' y='%d' width='14' height='4'/><text class='ink' x='%d' "
                "y='%d'>",
                (unsigned)i % N_COLOUR, LEFT, y - 6, LEFT + 22, y);
        print_text(f->to, f->curves->labels[i]);
        fputs("</text>\n", f->to);
    }
}

static void measure(frame *f) {
    const pm__curves *c = f->curves;
    f->x_least = f->x_most = c->n > 0 ? c->points[0].x : 0;
    for (size_t i = 0; i < c->n; i++) {
        const pm__point *p = &c->points[i];
        f->x_least = fmin(f->x_least, p->x);
        f->x_most = fmax(f->x_most, p->x);
        f->y_most = fmax(f->y_most, p->best);
    }
    if (f->y_most <= 0)
        f->y_most = 1;
    const double step = round_step(f->y_most, 6);
    f->y_most = ceil(f->y_most / step) * step;
    f->logarithmic = f->x_least > 0 && f->x_most >= 8 * f->x_least;
}

static bool has_cliffs(const pm__curves *curves) {
    for (size_t i = 0; i < curves->n; i++)
        if (curves->points[i].cliff[0])
            return true;
    return false;
}

bool pm__plot_write(const pm__curves *curves, FILE *to) {
    static const char *const titles[] = {"", "Tokens a second by answers at once",
                                         "Tokens a second by depth",
                                         "Tokens a second by prompt tokens of a step"};
    const int height = HEIGHT + (int)curves->n_series * LINE_HEIGHT;
    frame f = {.to = to, .curves = curves, .bottom = HEIGHT - BOTTOM};
    measure(&f);
    fprintf(to,
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' width='%d' "
            "height='%d'>\n",
            WIDTH, height, WIDTH, height);
    print_style(to);
    fprintf(to,
            "<rect class='paper' width='%d' height='%d'/>\n<text class='ink title' x='%d' "
            "y='32'>%s</text>\n",
            WIDTH, height, LEFT, titles[curves->kind]);
    fprintf(to,
            "<text class='soft' x='%d' y='28' text-anchor='end'>the best run of each point, with a "
            "bar down to the slowest</text>\n",
            WIDTH - RIGHT);
    if (has_cliffs(curves))
        fprintf(to,
                "<text class='soft' x='%d' y='46' text-anchor='end'>rings: by turns, too, more "
                "than 20 %% from what neighbours let expect</text>\n",
                WIDTH - RIGHT);
    draw_axes(&f);
    for (uint32_t i = 0; i < curves->n_series; i++)
        draw_series(&f, i);
    draw_legend(&f);
    fputs("</svg>\n", to);
    return fflush(to) == 0 && !ferror(to);
}
