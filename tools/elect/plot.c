#include "tools/elect/plot.h"

#include <math.h>
#include <string.h>

enum {
    PAGE_WIDTH = 940,
    PAGE_TOP = 64, /* title and legend */
    BLOCK_HEIGHT = 380,
    PANEL_WIDTH = 370,
    PANEL_HEIGHT = 270,
    PANEL_TOP = 40, /* of the panel within its block */
    PANEL_LEFT = 80,
    PANEL_GAP = 95,
    STYLES = 5,
    TICKS_MAX = 16,
};

/* Colours that stay apart for the colour-blind too (Okabe and Ito), on the page's own white card,
 * so that a reader with a dark theme sees the same picture. */
static const struct {
    const char *colour;
    const char *marker; /* a path around 0,0 */
} styles[STYLES] = {
    {"#0072b2", "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z"},
    {"#d55e00", "M-3.6,-3.6h7.2v7.2h-7.2Z"},
    {"#009e73", "M0,-5L5,0L0,5L-5,0Z"},
    {"#b04a8f", "M0,-4.8L4.6,3.6H-4.6Z"},
    {"#9a7400", "M0,4.8L4.6,-3.6H-4.6Z"},
};

enum panel { PANEL_MESSAGES = 0, PANEL_TIME, PANELS };

/* One panel: where it is, and which numbers its edges stand for. */
struct axes {
    double left, top;
    double x_min, x_max, y_min, y_max; /* decimal logarithms */
};

/* What is drawn: all rows of one profile and mode. */
struct group {
    const struct elect_row *rows;
    size_t count;
    enum profile profile;
    bool raw;
};

static bool in_group(const struct group *g, const struct elect_row *row)
{
    return row->config.profile == g->profile && row->config.raw == g->raw;
}

static double value_of(const struct elect_row *row, enum panel panel)
{
    return panel == PANEL_MESSAGES ? row->figures.messages_per_election
                                   : row->figures.leader_ms_p50;
}

/* Strategies are told apart by the order in which they first appear in all rows, so that one has
 * the same colour in every panel. */
static size_t strategies(const struct elect_row *rows, size_t count, const char *names[STYLES])
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        size_t k = 0;

        while (k < found && strcmp(names[k], rows[i].config.strategy->name) != 0)
            k++;
        if (k == found && found < STYLES)
            names[found++] = rows[i].config.strategy->name;
    }
    return found;
}

/* ---- axes ------------------------------------------------------------------------------------ */

static double x_of(const struct axes *a, double v)
{
    return a->left + (log10(v) - a->x_min) / (a->x_max - a->x_min) * PANEL_WIDTH;
}

static double y_of(const struct axes *a, double v)
{
    return a->top + PANEL_HEIGHT - (log10(v) - a->y_min) / (a->y_max - a->y_min) * PANEL_HEIGHT;
}

static struct axes axes_for(const struct group *g, enum panel panel, double left, double top)
{
    struct axes a = {left, top, 9, -9, 9, -9};

    for (size_t i = 0; i < g->count; i++) {
        const struct elect_row *row = &g->rows[i];
        double y = value_of(row, panel);

        if (!in_group(g, row))
            continue;
        a.x_min = fmin(a.x_min, log10(row->config.nodes));
        a.x_max = fmax(a.x_max, log10(row->config.nodes));
        if (y > 0) {
            a.y_min = fmin(a.y_min, floor(log10(y)));
            a.y_max = fmax(a.y_max, ceil(log10(y)));
        }
        if (panel == PANEL_TIME && row->figures.leader_ms_p99 > 0)
            a.y_max = fmax(a.y_max, ceil(log10(row->figures.leader_ms_p99)));
    }
    if (a.y_min > a.y_max)
        a.y_min = 0, a.y_max = 1;
    if (a.y_max - a.y_min < 1)
        a.y_max = a.y_min + 1;
    a.x_min -= 0.12;
    a.x_max += 0.12;
    return a;
}

static void text(FILE *out, double x, double y, const char *anchor, const char *extra,
                 const char *words)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor,
            extra, words);
}

static void power_of_ten(char *buf, size_t size, double exponent)
{
    double v = pow(10, exponent);

    if (v >= 1e6)
        (void)snprintf(buf, size, "%.0f M", v / 1e6);
    else if (v >= 1e3)
        (void)snprintf(buf, size, "%.0f k", v / 1e3);
    else
        (void)snprintf(buf, size, "%g", v);
}

static void draw_y_axis(FILE *out, const struct axes *a)
{
    char label[24];

    for (double decade = a->y_min; decade <= a->y_max; decade++) {
        double y = y_of(a, pow(10, decade));

        fprintf(out, "<path class=\"grid\" d=\"M%.1f,%.1fh%d\"/>\n", a->left, y, PANEL_WIDTH);
        power_of_ten(label, sizeof label, decade);
        text(out, a->left - 7, y + 4, "end", "", label);
        for (int m = 2; m < 10 && decade < a->y_max; m++)
            fprintf(out, "<path class=\"tick\" d=\"M%.1f,%.1fh4\"/>\n", a->left,
                    y_of(a, m * pow(10, decade)));
    }
}

/* One tick per size that was measured. Labels too close to the one before are left out. */
static void draw_x_axis(FILE *out, const struct group *g, const struct axes *a)
{
    double bottom = a->top + PANEL_HEIGHT, labelled = -1000;
    uint32_t seen[TICKS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < g->count && count < TICKS_MAX; i++) {
        uint32_t nodes = g->rows[i].config.nodes;
        size_t k = 0;
        char label[24];

        while (k < count && seen[k] != nodes)
            k++;
        if (k < count || !in_group(g, &g->rows[i]))
            continue;
        seen[count++] = nodes;
        double x = x_of(a, nodes);
        fprintf(out, "<path class=\"tick\" d=\"M%.1f,%.1fv-5\"/>\n", x, bottom);
        if (fabs(x - labelled) < 14)
            continue;
        (void)snprintf(label, sizeof label, "%u", nodes);
        text(out, x, bottom + 16, "middle", "", label);
        labelled = x;
    }
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void draw_line(FILE *out, const struct group *g, const struct axes *a, enum panel panel,
                      const char *name, size_t style, bool p99)
{
    bool begun = false;

    fprintf(out, "<path class=\"%s\" stroke=\"%s\" d=\"", p99 ? "p99" : "line",
            styles[style].colour);
    for (size_t i = 0; i < g->count; i++) {
        const struct elect_row *row = &g->rows[i];
        double v = p99 ? row->figures.leader_ms_p99 : value_of(row, panel);

        if (!in_group(g, row) || strcmp(row->config.strategy->name, name) != 0 || v <= 0)
            continue;
        fprintf(out, "%c%.1f,%.1f", begun ? 'L' : 'M', x_of(a, row->config.nodes), y_of(a, v));
        begun = true;
    }
    fprintf(out, "\"/>\n");
}

static void draw_markers(FILE *out, const struct group *g, const struct axes *a, enum panel panel,
                         const char *name, size_t style)
{
    for (size_t i = 0; i < g->count; i++) {
        const struct elect_row *row = &g->rows[i];
        double v = value_of(row, panel);

        if (in_group(g, row) && strcmp(row->config.strategy->name, name) == 0 && v > 0)
            fprintf(out,
                    "<path class=\"mark\" fill=\"%s\" transform=\"translate(%.1f,%.1f)\" "
                    "d=\"%s\"><title>%s, %u nodes: %.1f</title></path>\n",
                    styles[style].colour, x_of(a, row->config.nodes), y_of(a, v),
                    styles[style].marker, name, row->config.nodes, v);
    }
}

static void draw_panel(FILE *out, const struct group *g, enum panel panel, double top,
                       const char *const names[STYLES], size_t name_count)
{
    double left = PANEL_LEFT + (double)panel * (PANEL_WIDTH + PANEL_GAP);
    struct axes a = axes_for(g, panel, left, top);
    double middle = top + PANEL_HEIGHT / 2.0;
    char turn[64];

    draw_y_axis(out, &a);
    draw_x_axis(out, g, &a);
    fprintf(out, "<path class=\"frame\" d=\"M%.1f,%.1fv%dh%d\"/>\n", left, top, PANEL_HEIGHT,
            PANEL_WIDTH);
    text(out, left + PANEL_WIDTH / 2.0, top + PANEL_HEIGHT + 36, "middle", " class=\"title\"",
         "nodes");
    (void)snprintf(turn, sizeof turn, " class=\"title\" transform=\"rotate(-90 %.1f %.1f)\"",
                   left - 58, middle);
    text(out, left - 58, middle, "middle", turn,
         panel == PANEL_MESSAGES ? "messages per election"
                                 : "time to leader, ms (solid p50, dotted p99)");
    for (size_t k = 0; k < name_count; k++) {
        if (panel == PANEL_TIME)
            draw_line(out, g, &a, panel, names[k], k, true);
        draw_line(out, g, &a, panel, names[k], k, false);
    }
    for (size_t k = 0; k < name_count; k++)
        draw_markers(out, g, &a, panel, names[k], k);
}

static void draw_legend(FILE *out, const char *const names[STYLES], size_t count)
{
    for (size_t k = 0; k < count; k++) {
        double x = PANEL_LEFT + 130 * (double)k, y = 44;

        fprintf(out, "<path class=\"line\" stroke=\"%s\" d=\"M%.1f,%.1fh28\"/>\n", styles[k].colour,
                x, y);
        fprintf(out,
                "<path class=\"mark\" fill=\"%s\" transform=\"translate(%.1f,%.1f)\" d=\"%s\"/>\n",
                styles[k].colour, x + 14, y, styles[k].marker);
        text(out, x + 35, y + 4, "start", "", names[k]);
    }
}

static bool is_first_of_group(const struct elect_row *rows, size_t at)
{
    struct group g = {rows, at, rows[at].config.profile, rows[at].config.raw};

    for (size_t i = 0; i < at; i++)
        if (in_group(&g, &rows[i]))
            return false;
    return true;
}

static void draw_group(FILE *out, const struct group *g, double top,
                       const char *const names[STYLES], size_t name_count)
{
    char title[160];

    (void)snprintf(title, sizeof title, "%s, %s: %s", profile_name(g->profile),
                   g->raw ? "raw" : "with ballots", profile_text(g->profile));
    text(out, PANEL_LEFT, top + 22, "start", " class=\"group\"", title);
    for (enum panel panel = PANEL_MESSAGES; panel < PANELS; panel++)
        draw_panel(out, g, panel, top + PANEL_TOP, names, name_count);
}

void plot_write(FILE *out, const struct elect_row *rows, size_t count)
{
    const char *names[STYLES];
    size_t name_count = strategies(rows, count, names), groups = 0;

    for (size_t i = 0; i < count; i++)
        groups += is_first_of_group(rows, i);
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %zu\" width=\"%d\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#1f2328\">\n"
        "<style>.grid{stroke:#d8dee4;fill:none}.tick,.frame{stroke:#59636e;fill:none}"
        ".line{stroke-width:2;fill:none}"
        ".p99{stroke-width:1.4;fill:none;stroke-dasharray:1.5 3.5;stroke-linecap:round}"
        ".mark{stroke:#fff;stroke-width:0.8}.title{font-size:13px}"
        ".group{font-size:13px;font-weight:bold}.head{font-size:15px;font-weight:bold}</style>\n"
        "<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"#ffffff\"/>\n",
        PAGE_WIDTH, PAGE_TOP + groups * BLOCK_HEIGHT, PAGE_WIDTH);
    text(out, PANEL_LEFT, 24, "start", " class=\"head\"",
         "What an election costs, over the size of the cluster");
    draw_legend(out, names, name_count);
    groups = 0;
    for (size_t i = 0; i < count; i++) {
        struct group g = {rows, count, rows[i].config.profile, rows[i].config.raw};

        if (!is_first_of_group(rows, i))
            continue;
        draw_group(out, &g, (double)(PAGE_TOP + groups * BLOCK_HEIGHT), names, name_count);
        groups++;
    }
    fprintf(out, "</svg>\n");
}
