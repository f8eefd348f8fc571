// SPDX-License-Identifier: Apache-2.0
#include "server/http/conditions.h"

#include <string.h>
#include <time.h>

/* What stands between the quotes of a tag. */
struct tag {
    const char *text;
    size_t length;
    bool weak;
};

static const char *skip_blank(const char *at)
{
    return at + strspn(at, " \t");
}

/* Reads a tag at *at and moves on; false when there is none. */
static bool read_tag(const char **at, struct tag *tag)
{
    const char *from = *at;
    tag->weak = strncmp(from, "W/", 2) == 0;
    from += tag->weak ? 2 : 0;
    if (*from != '"')
        return false;
    tag->text = ++from;
    // etagc: visible ASCII but the quote, and bytes above it
    while (*from != '"') {
        if ((unsigned char)*from <= 0x20 || *from == 0x7f)
            return false;
        from++;
    }
    tag->length = (size_t)(from - tag->text);
    *at = from + 1;
    return true;
}

static bool same_text(const struct tag *tag, const struct tag *wanted)
{
    static const char coded[] = SRV_GZIP_TAG;
    const size_t added = sizeof coded - 1;
    if (tag->length < wanted->length || memcmp(tag->text, wanted->text, wanted->length) != 0)
        return false;
    return tag->length == wanted->length ||
           (tag->length == wanted->length + added && memcmp(tag->text + wanted->length, coded, added) == 0);
}

enum srv_tags srv_tags_find(const char *header, const char *etag, enum srv_tags_how how)
{
    struct tag wanted = {.text = ""}, tag;
    bool found = false, any = false;
    const bool findable = etag != NULL && read_tag(&etag, &wanted);
    const char *at = skip_blank(header);
    if (*at == '\0')
        return SRV_TAGS_ABSENT;
    if (*at == '*')
        return *skip_blank(at + 1) == '\0' ? SRV_TAGS_ANY : SRV_TAGS_MALFORMED;
    while (*at != '\0') {
        // a list may have empty members
        if (*at != ',') {
            if (!read_tag(&at, &tag))
                return SRV_TAGS_MALFORMED;
            any = true;
            found |=
                findable && same_text(&tag, &wanted) && (how == SRV_TAGS_WEAK || (!tag.weak && !wanted.weak));
            at = skip_blank(at);
        }
        if (*at != ',' && *at != '\0')
            return SRV_TAGS_MALFORMED;
        at = *at == ',' ? skip_blank(at + 1) : at;
    }
    if (!any)
        return SRV_TAGS_MALFORMED;
    return found ? SRV_TAGS_FOUND : SRV_TAGS_OTHER;
}

bool srv_tags_not_modified(const char *if_none_match, const char *etag)
{
    const enum srv_tags tags = srv_tags_find(if_none_match, etag, SRV_TAGS_WEAK);
    return tags == SRV_TAGS_FOUND || tags == SRV_TAGS_ANY;
}

/* ---- dates ---- */

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* `count` digits, the first of which may be a space when `padded`. */
static bool read_number(const char **at, size_t count, bool padded, int *number)
{
    *number = 0;
    for (size_t i = 0; i < count; i++, ++*at) {
        if (padded && i == 0 && **at == ' ')
            continue;
        if (**at < '0' || **at > '9')
            return false;
        *number = *number * 10 + (**at - '0');
    }
    return true;
}

static bool read_day_name(const char **at, bool whole, int *day)
{
    for (int i = 0; i < 7; i++) {
        const size_t length = whole ? strlen(days[i]) : 3;
        if (strncmp(*at, days[i], length) == 0) {
            *day = i;
            *at += length;
            return true;
        }
    }
    return false;
}

static bool read_month(const char **at, int *month)
{
    for (int i = 0; i < 12; i++) {
        if (strncmp(*at, months + 3 * i, 3) == 0) {
            *month = i;
            *at += 3;
            return true;
        }
    }
    return false;
}

/* a, A: name of the day, short or whole; d, e: its number, e with a space for 0; b: name of the month; Y, y: the year;
 * H, i, S. Everything else stands for itself. */
static bool read_pattern(const char *at, const char *pattern, int64_t now, struct tm *parts)
{
    bool good = true;
    for (; *pattern != '\0' && good; pattern++) {
        int number = 0;
        switch (*pattern) {
        case 'a':
        case 'A':
            good = read_day_name(&at, *pattern == 'A', &parts->tm_wday);
            break;
        case 'b':
            good = read_month(&at, &parts->tm_mon);
            break;
        case 'd':
        case 'e':
            good = read_number(&at, 2, *pattern == 'e', &parts->tm_mday);
            break;
        case 'H':
            good = read_number(&at, 2, false, &parts->tm_hour) && parts->tm_hour < 24;
            break;
        case 'i':
            good = read_number(&at, 2, false, &parts->tm_min) && parts->tm_min < 60;
            break;
        case 'S':
            good = read_number(&at, 2, false, &parts->tm_sec) && parts->tm_sec < 60;
            break;
        case 'Y':
            good = read_number(&at, 4, false, &number);
            parts->tm_year = number - 1900; // before 1900 there was nothing to be modified
            good = good && parts->tm_year >= 0;
            break;
        case 'y': {
            struct tm today;
            const time_t moment = (time_t)now;
            good = read_number(&at, 2, false, &number) && gmtime_r(&moment, &today) != NULL;
            if (good) {
                const int latest = today.tm_year + 50;
                parts->tm_year = latest - ((latest - number) % 100 + 100) % 100;
            }
            break;
        }
        default:
            good = *at == *pattern;
            at++;
        }
    }
    return good && *at == '\0';
}

bool srv_date_parse(const char *text, int64_t now, int64_t *seconds)
{
    static const char *const patterns[] = {"a, d b Y H:i:S GMT", "A, d-b-y H:i:S GMT", "a b e H:i:S Y"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct tm parts = {.tm_year = 0}, again;
        if (!read_pattern(text, patterns[i], now, &parts))
            continue;
        const int day = parts.tm_mday, weekday = parts.tm_wday;
        const time_t moment = timegm(&parts);
        // the 31st of February, or a Monday that was none
        if (gmtime_r(&moment, &again) == NULL || again.tm_mday != day || again.tm_wday != weekday)
            return false;
        *seconds = (int64_t)moment;
        return true;
    }
    return false;
}

bool srv_unmodified_since(const char *header, int64_t modified)
{
    int64_t since;
    return !srv_date_parse(header, (int64_t)time(NULL), &since) || modified <= since;
}

void srv_date_format(int64_t seconds, char out[SRV_DATE_SIZE])
{
    struct tm parts;
    const time_t moment = (time_t)seconds;
    out[0] = '\0';
    if (gmtime_r(&moment, &parts) != NULL)
        strftime(out, SRV_DATE_SIZE, "%a, %d %b %Y %H:%M:%S GMT", &parts);
}
